# SPDX-License-Identifier: BSD-3-Clause
# Copyright The nbdkit-vmdk authors
#
# What every Makefile.am includes.

# The end of a list: each item can then have its own line with a backslash.
NULL =

# Written beside and renamed, so that a failed run leaves nothing that
# looks finished.
POD_RULE = \
	$(POD2MAN) --section=1 --utf8 --errors=die \
	    --center='nbdkit-vmdk' --release='nbdkit-vmdk-$(VERSION)' \
	    --name="`basename $< .pod`" $< $@.tmp && \
	mv $@.tmp $@ \
	$(NULL)

CLEANFILES = *.tmp *~
