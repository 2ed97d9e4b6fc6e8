// The rule at each of its edges.

#include "plugin/base/interface_name.h"

#include <string>

#include "gtest/gtest.h"

namespace vxvde {
namespace {

TEST(InterfaceNameTest, AsTheKernelHasIt) {
  for (const char* good : {"eth0", "a", "net-1.x", "@x", "abcdefghijklmno", "...", "n\xc3\xa9t0"}) {
    EXPECT_TRUE(IsInterfaceName(good)) << good;
  }
  for (const char* bad : {"", ".", "..", "a/b", "a:b", "a b", "a\tb", "a\n", "a\x1b[1m", "\x7f",
                          "abcdefghijklmnop"}) {
    EXPECT_FALSE(IsInterfaceName(bad)) << bad;
  }
  EXPECT_FALSE(IsInterfaceName(std::string("a\0b", 3)));
}

}  // namespace
}  // namespace vxvde
