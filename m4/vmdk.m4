dnl SPDX-License-Identifier: BSD-3-Clause
dnl Copyright The nbdkit-vmdk authors
dnl
dnl Macros of this project's configure.ac.

dnl VMDK_MISSING (MESSAGE): remembers that something needed is absent.
AC_DEFUN([VMDK_MISSING], [
  vmdk_missing="$vmdk_missing
  $1"
])

dnl Says all that VMDK_MISSING was told and gives up, if there was any.
AC_DEFUN([VMDK_STOP_IF_MISSING], [
  AS_IF([test -n "$vmdk_missing"],
    [AC_MSG_ERROR([this is needed and absent:$vmdk_missing])])
])

dnl VMDK_PKG (PREFIX, MODULE, VERSION, NAME, DEBIAN, FEDORA): a library that
dnl must be there.  Sets PREFIX_CFLAGS, PREFIX_LIBS and MODULE_version.
AC_DEFUN([VMDK_PKG], [
  PKG_CHECK_MODULES([$1], [$2 >= $3],
    [$2_version=`$PKG_CONFIG --modversion $2`],
    [$2_version=`$PKG_CONFIG --modversion $2 2>/dev/null`
     AS_IF([test -n "$$2_version"],
       [VMDK_MISSING([$4 are version $$2_version, but $3 is needed: upgrade $5 (Debian) or $6 (Fedora)])],
       [VMDK_MISSING([$4 not found: install $5 (Debian) or $6 (Fedora)])])])
])

dnl VMDK_CC_FLAGS (VARIABLE, FLAGS): adds those that the compiler knows.
AC_DEFUN([VMDK_CC_FLAGS], [
  for vmdk_flag in $2; do
    AC_MSG_CHECKING([whether $CC knows $vmdk_flag])
    vmdk_saved_CFLAGS=$CFLAGS
    CFLAGS="$CFLAGS -Werror $vmdk_flag"
    AC_COMPILE_IFELSE([AC_LANG_SOURCE([int vmdk_dummy;])],
      [AC_MSG_RESULT([yes])
       $1="$$1 $vmdk_flag"],
      [AC_MSG_RESULT([no])])
    CFLAGS=$vmdk_saved_CFLAGS
  done
])

dnl VMDK_SANITIZERS (LIST): compiles everything with these sanitizers.
dnl Their library must be one that can be preloaded, since nbdkit itself
dnl isn't built with it; that is gcc's way, not clang's.  In such code
dnl gcc believes variables to be uninitialized that aren't.
AC_DEFUN([VMDK_SANITIZERS], [
  AC_MSG_CHECKING([whether $CC links with -fsanitize=$1])
  CFLAGS="$CFLAGS -fsanitize=$1 -fno-sanitize-recover=all -fno-omit-frame-pointer -Wno-maybe-uninitialized -g"
  AC_LINK_IFELSE([AC_LANG_PROGRAM([[
      #ifdef __clang__
      #error gcc only
      #endif
    ]])],
    [AC_MSG_RESULT([yes])],
    [AC_MSG_RESULT([no])
     AC_MSG_ERROR([--enable-sanitizers=$1 needs gcc and its sanitizer libraries: install gcc (Debian) or libasan, libubsan, libtsan (Fedora)])])
])
