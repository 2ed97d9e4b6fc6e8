// The names must be the same in every release: the expected values come from a separate computation
// of FNV-1a over (length, bytes) three times, not from this code.

#include "agent/api/attachment_id.h"

#include <gtest/gtest.h>

#include <string>

namespace vxvde {
namespace {

TEST(AttachmentId, NeverChanges) {
  EXPECT_EQ(AttachmentId("blue", "0123456789abcdef", "eth0"), "40cuhhrn1i6dk");
  EXPECT_EQ(AttachmentId("", "", ""), "58ptgr8eh0p4l");
  EXPECT_EQ(AttachmentId("ab", "c", ""), "0kqt2ofiaqc7o");
}

TEST(AttachmentId, PartsDoNotRunIntoEachOther) {
  EXPECT_EQ(AttachmentId("a", "bc", ""), "bkkp9lkn3qfhg");
  EXPECT_NE(AttachmentId("ab", "c", ""), AttachmentId("a", "bc", ""));
  EXPECT_NE(AttachmentId("a", "", ""), AttachmentId("", "a", ""));
}

TEST(HostIfName, FitsAnInterfaceName) {
  const std::string id = AttachmentId("blue", "0123456789abcdef", "eth0");
  EXPECT_EQ(HostIfName(id), "vx40cuhhrn1i6dk");
  EXPECT_EQ(HostIfName(id).size(), 15u);
}

TEST(IsHostEnd, KnowsBothKindsByNameAndAlias) {
  EXPECT_TRUE(IsHostEnd("vx40cuhhrn1i6dk", "vxvde:40cuhhrn1i6dk"));
  EXPECT_TRUE(IsHostEnd("vx40cuhhrn1i6dk", "vxvde:40cuhhrn1i6dk:0kqt2ofiaqc7o"));
  EXPECT_TRUE(IsHostEnd("vx40cuhhrn1i6dk", "vxvde-node:239.1.2.3:14789/42"));
  EXPECT_FALSE(IsHostEnd("vx40cuhhrn1i6dk", "vxvde:0kqt2ofiaqc7o")) << "of another attachment";
  EXPECT_FALSE(IsHostEnd("vx40cuhhrn1i6dk", ""));
  EXPECT_FALSE(IsHostEnd("vx-blue", "vxvde-node:239.1.2.3:14789/42")) << "the node's own end";
  EXPECT_FALSE(IsHostEnd("eth0", "vxvde:40cuhhrn1i6dk")) << "a pod's end";
  EXPECT_FALSE(IsHostEnd("vxlan.calico", ""));
}

TEST(LinkAlias, NamesTheAttachmentAndItsAdd) {
  const std::string id = "40cuhhrn1i6dk";
  const std::string main_id = "0kqt2ofiaqc7o";
  EXPECT_EQ(LinkAlias(id), "vxvde:40cuhhrn1i6dk");
  EXPECT_EQ(LinkAlias(id, id), "vxvde:40cuhhrn1i6dk");
  EXPECT_EQ(LinkAlias(id, main_id), "vxvde:40cuhhrn1i6dk:0kqt2ofiaqc7o");
  EXPECT_EQ(IdOfAlias("vxvde:40cuhhrn1i6dk"), id);
  EXPECT_EQ(MainIdOfAlias("vxvde:40cuhhrn1i6dk"), id);
  EXPECT_EQ(IdOfAlias("vxvde:40cuhhrn1i6dk:0kqt2ofiaqc7o"), id);
  EXPECT_EQ(MainIdOfAlias("vxvde:40cuhhrn1i6dk:0kqt2ofiaqc7o"), main_id);
}

TEST(LinkAlias, WhatIsNotOursHasNoId) {
  for (const char* alias :
       {"", "vxvde:", "vxvde", "40cuhhrn1i6dk", "vxvde:40cuhhrn1i6d", "vxvde:40cuhhrn1i6dkk",
        "vxvde:40cuhhrn1i6dk:", "vxvde:40cuhhrn1i6dk:0kqt2ofiaqc7", "vxvde:40cuhhrn1i6dz",
        "vxvde:40cuhhrn1i6dk:0kqt2ofiaqc7o:", "vxvde:40cuhhrn1i6dk-0kqt2ofiaqc7o",
        "Vxvde:40cuhhrn1i6dk", "vxvde:40CUHHRN1I6DK"}) {
    EXPECT_EQ(IdOfAlias(alias), "") << alias;
    EXPECT_EQ(MainIdOfAlias(alias), "") << alias;
  }
}

}  // namespace
}  // namespace vxvde
