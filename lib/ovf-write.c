/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright The nbdkit-vmdk authors
 *
 * Composing an OVF (DMTF DSP0243, version 1.1) that vSphere, Workstation
 * and VirtualBox import: a machine with what none can be without, one
 * processor, 1 GiB of memory, and the disk at its controller.  Whatever
 * else it is to have, a network adapter for instance, is chosen when it is
 * imported.
 *
 * In items, the schema wants elements in the order of the alphabet.
 */

#include <config.h>

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "memstream.h"
#include "ovf-write.h"

#define MEMORY_MIB 1024

/* Older hardware has never been in an OVF. */
#define MIN_HW_VERSION 7

#define NUMBER_WIDTH 20 /* digits of the largest one */

/* Names. */

/* Length of the character at p in UTF-8, or 0 if it isn't one that XML
 * allows.
 */
static size_t
xml_char_length (const unsigned char *p)
{
  static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
  const size_t n = p[0] < 0x80 ? 1 : p[0] < 0xc0 ? 0 : p[0] < 0xe0 ? 2
    : p[0] < 0xf0 ? 3 : p[0] < 0xf8 ? 4 : 0;
  uint32_t c;
  size_t i;

  if (n <= 1)
    return p[0] >= ' ' && p[0] != 0x7f ? n : 0;
  c = p[0] & (0x7fU >> n);
  for (i = 1; i < n; i++) {
    if ((p[i] & 0xc0) != 0x80)
      return 0;
    c = c << 6 | (p[i] & 0x3f);
  }
  if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000) ||
      c == 0xfffe || c == 0xffff)
    return 0;
  return n;
}

static void
put_escaped (FILE *out, const char *text)
{
  const unsigned char *p = (const unsigned char *) text;
  size_t n;

  for (; *p; p += n > 0 ? n : 1) {
    n = xml_char_length (p);
    if (n == 0)
      fputc ('?', out);
    else if (*p == '&')
      fputs ("&amp;", out);
    else if (*p == '<')
      fputs ("&lt;", out);
    else if (*p == '>')
      fputs ("&gt;", out);
    else if (*p == '"')
      fputs ("&quot;", out);
    else
      fwrite (p, 1, n, out);
  }
}

/* Parts. */

/* An attribute, with blanks behind it up to the same width. */
static void
put_number (FILE *out, const char *name, uint64_t value)
{
  char digits[NUMBER_WIDTH + 1];
  const int n = snprintf (digits, sizeof digits, "%" PRIu64, value);

  fprintf (out, "ovf:%s=\"%s\"%*s", name, digits, NUMBER_WIDTH - n, "");
}

static void
put_head (FILE *out, const struct new_ovf *o)
{
  fputs ("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
         "<Envelope xmlns=\"http://schemas.dmtf.org/ovf/envelope/1\"\n"
         "  xmlns:ovf=\"http://schemas.dmtf.org/ovf/envelope/1\"\n"
         "  xmlns:rasd=\"http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/"
         "CIM_ResourceAllocationSettingData\"\n"
         "  xmlns:vmw=\"http://www.vmware.com/schema/ovf\"\n"
         "  xmlns:vssd=\"http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/"
         "CIM_VirtualSystemSettingData\">\n"
         "  <References>\n", out);
  fprintf (out, "    <File ovf:href=\"%s\" ovf:id=\"file1\" ", o->disk_name);
  put_number (out, "size", o->file_size);
  fputs ("/>\n"
         "  </References>\n", out);
}

static void
put_disk (FILE *out, const struct new_ovf *o)
{
  fprintf (out,
           "  <DiskSection>\n"
           "    <Info>Virtual disk information</Info>\n"
           "    <Disk ovf:capacity=\"%" PRIu64 "\""
           " ovf:capacityAllocationUnits=\"byte\""
           " ovf:diskId=\"vmdisk1\" ovf:fileRef=\"file1\"\n"
           "      ovf:format=\"http://www.vmware.com/interfaces/"
           "specifications/vmdk.html#streamOptimized\"\n"
           "      ", o->capacity);
  put_number (out, "populatedSize", o->populated);
  fputs ("/>\n"
         "  </DiskSection>\n", out);
}

/* 102 is "Other 64-Bit" of CIM; it runs guests of 32 bits as well. */
static void
put_system_head (FILE *out, const struct new_ovf *o)
{
  fprintf (out,
           "  <VirtualSystem ovf:id=\"%s\">\n"
           "    <Info>A virtual machine</Info>\n"
           "    <Name>", o->id);
  put_escaped (out, o->name);
  fputs ("</Name>\n"
         "    <OperatingSystemSection ovf:id=\"102\""
         " vmw:osType=\"otherGuest64\">\n"
         "      <Info>The kind of installed guest operating system</Info>\n"
         "    </OperatingSystemSection>\n", out);
}

static void
put_family (FILE *out, const struct new_ovf *o)
{
  fprintf (out,
           "    <VirtualHardwareSection>\n"
           "      <Info>Virtual hardware requirements</Info>\n"
           "      <System>\n"
           "        <vssd:ElementName>Virtual Hardware Family"
           "</vssd:ElementName>\n"
           "        <vssd:InstanceID>0</vssd:InstanceID>\n"
           "        <vssd:VirtualSystemIdentifier>%s"
           "</vssd:VirtualSystemIdentifier>\n"
           "        <vssd:VirtualSystemType>vmx-%02u"
           "</vssd:VirtualSystemType>\n"
           "      </System>\n",
           o->id,
           o->hw_version < MIN_HW_VERSION ? MIN_HW_VERSION : o->hw_version);
}

static void
put_processor_and_memory (FILE *out)
{
  fprintf (out,
           "      <Item>\n"
           "        <rasd:AllocationUnits>hertz * 10^6"
           "</rasd:AllocationUnits>\n"
           "        <rasd:Description>Number of Virtual CPUs"
           "</rasd:Description>\n"
           "        <rasd:ElementName>1 virtual CPU(s)</rasd:ElementName>\n"
           "        <rasd:InstanceID>1</rasd:InstanceID>\n"
           "        <rasd:ResourceType>3</rasd:ResourceType>\n"
           "        <rasd:VirtualQuantity>1</rasd:VirtualQuantity>\n"
           "      </Item>\n"
           "      <Item>\n"
           "        <rasd:AllocationUnits>byte * 2^20"
           "</rasd:AllocationUnits>\n"
           "        <rasd:Description>Memory Size</rasd:Description>\n"
           "        <rasd:ElementName>%dMB of memory</rasd:ElementName>\n"
           "        <rasd:InstanceID>2</rasd:InstanceID>\n"
           "        <rasd:ResourceType>4</rasd:ResourceType>\n"
           "        <rasd:VirtualQuantity>%d</rasd:VirtualQuantity>\n"
           "      </Item>\n", MEMORY_MIB, MEMORY_MIB);
}

static void
put_controller (FILE *out, const struct new_ovf *o)
{
  const bool ide = strcasecmp (o->adapter, "ide") == 0;
  const bool buslogic = strcasecmp (o->adapter, "buslogic") == 0;
  const char *const bus = ide ? "IDE" : "SCSI";

  fprintf (out,
           "      <Item>\n"
           "        <rasd:Address>0</rasd:Address>\n"
           "        <rasd:Description>%s Controller</rasd:Description>\n"
           "        <rasd:ElementName>%s Controller 0</rasd:ElementName>\n"
           "        <rasd:InstanceID>3</rasd:InstanceID>\n", bus, bus);
  if (!ide)
    fprintf (out,
             "        <rasd:ResourceSubType>%s</rasd:ResourceSubType>\n",
             buslogic ? "buslogic" : "lsilogic");
  fprintf (out,
           "        <rasd:ResourceType>%d</rasd:ResourceType>\n"
           "      </Item>\n", ide ? 5 : 6);
}

static void
put_tail (FILE *out)
{
  fputs ("      <Item>\n"
         "        <rasd:AddressOnParent>0</rasd:AddressOnParent>\n"
         "        <rasd:ElementName>Hard disk 1</rasd:ElementName>\n"
         "        <rasd:HostResource>ovf:/disk/vmdisk1</rasd:HostResource>\n"
         "        <rasd:InstanceID>4</rasd:InstanceID>\n"
         "        <rasd:Parent>3</rasd:Parent>\n"
         "        <rasd:ResourceType>17</rasd:ResourceType>\n"
         "      </Item>\n"
         "    </VirtualHardwareSection>\n"
         "  </VirtualSystem>\n"
         "</Envelope>\n", out);
}

char *
ovf_compose (const struct new_ovf *o)
{
  char *text = NULL;
  size_t length;
  FILE *const out = open_memstream (&text, &length);

  if (out == NULL)
    return NULL;
  put_head (out, o);
  put_disk (out, o);
  put_system_head (out, o);
  put_family (out, o);
  put_processor_and_memory (out);
  put_controller (out, o);
  put_tail (out);
  return memstream_close (out, &text);
}
