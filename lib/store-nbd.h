/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * A store that is an export of an NBD server, for reading.
 */

#ifndef VMDK_STORE_NBD_H
#define VMDK_STORE_NBD_H

#include "store.h"

/* Whether it is a URI that begins as those of NBD do, or any other that
 * has "nbd" in its scheme.
 */
extern bool store_nbd_is_uri (const char *name);

/* Connects to it, several times (at most so often; 0: 4) if the server is
 * made for that.  NULL: reported.
 */
extern struct store *store_nbd_new (const struct vmdk_log *log,
                                    const char *uri, unsigned connections);

#endif /* VMDK_STORE_NBD_H */
