/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * vmdk-img info, for archives.
 */

#ifndef INFO_OVA_H
#define INFO_OVA_H

#include "vmdk-img.h"

/* Lists the disks of an OVA that has several, when none is named.  The exit
 * status; -1: it isn't such a file.
 */
extern int info_ova (const struct settings *s);

#endif /* INFO_OVA_H */
