/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * From names to open files.  Names that the user gave are used as they
 * are.  Names that a descriptor gives are not trusted: they reach files
 * in and below the descriptor's own folder, the image's folder and the
 * trusted ones, and nothing else, whatever symbolic links and ".." say.
 */

#ifndef VMDK_RESOLVE_H
#define VMDK_RESOLVE_H

#include "context.h"
#include "descriptor.h"

/* The folder at path.  NULL: reported. */
extern struct folder *folder_open (struct context *ctx, const char *path);

/* The same folder once more, wherever path leads by now. */
extern struct folder *folder_again (struct context *ctx,
                                    const struct folder *folder);

/* The file that the user named.  *folder is the one it lies in, which
 * the caller closes; it may be NULL.
 */
extern struct store *resolve_by_hand (struct context *ctx, const char *path,
                                      struct folder **folder);

/* The file of an extent of the descriptor in file, in folder (NULL: not
 * known), whose text is in that encoding (NULL: not said).
 */
extern struct store *resolve_extent (struct context *ctx, const char *file,
                                     const struct folder *folder,
                                     const char *encoding,
                                     const struct extent_line *line);

/* The file of a parent, by the hint of the child in file, in folder, whose
 * text is in that encoding (NULL: not said).
 * When there are several, the first is taken for which matches (opaque,
 * it) is true, or just the first.  *parent_folder is where it lies, which
 * the caller closes.
 */
extern struct store *
resolve_parent (struct context *ctx, const char *file,
                const struct folder *folder, const char *encoding,
                const char *hint,
                bool (*matches) (void *opaque, struct store *store),
                void *opaque, struct folder **parent_folder);

#endif /* VMDK_RESOLVE_H */
