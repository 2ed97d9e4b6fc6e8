#include "agent/api/detach_queue.h"

#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vxvde {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

const QueuedDetach kDetach = {
    .network = "blue", .container_id = "c1", .ifname = "eth0", .with_others = true};

class DetachQueueTest : public testing::Test {
 protected:
  DetachQueueTest() {
    std::string pattern = testing::TempDir() + "/queue.XXXXXX";
    run_dir_ = mkdtemp(pattern.data());
  }
  ~DetachQueueTest() override { std::filesystem::remove_all(run_dir_); }

  std::string At(const std::string& name) const { return run_dir_ + "/queue/" + name; }
  void Write(const std::string& name, const std::string& text) { std::ofstream(At(name)) << text; }

  std::string run_dir_;
};

TEST_F(DetachQueueTest, D1_WhatIsPutIsThereOnce) {
  DetachQueue queue(run_dir_);
  EXPECT_THAT(queue.Load()->detaches, IsEmpty()) << "no folder yet";
  ASSERT_TRUE(queue.Put(kDetach).ok());
  ASSERT_TRUE(queue.Put(kDetach).ok());
  struct stat info {};
  ASSERT_EQ(stat((run_dir_ + "/queue").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777u, 0700u);
  const auto contents = queue.Load();
  ASSERT_TRUE(contents.ok()) << contents.status();
  EXPECT_THAT(contents->detaches, ElementsAre(kDetach));
  EXPECT_THAT(contents->problems, IsEmpty());
  EXPECT_TRUE(queue.Remove(kDetach.id()).ok());
  EXPECT_TRUE(queue.Remove(kDetach.id()).ok()) << "twice is fine";
  EXPECT_THAT(queue.Load()->detaches, IsEmpty());
  EXPECT_TRUE(absl::IsNotFound(DetachQueue(run_dir_ + "/none").Put(kDetach)));
}

// Torn, foreign, or not a file: reported, set aside, and not seen again.
TEST_F(DetachQueueTest, D1_WhatIsNotUnderstoodIsSetAside) {
  DetachQueue queue(run_dir_);
  ASSERT_TRUE(queue.Put(kDetach).ok());
  const std::string good = FormatQueuedDetach(kDetach);
  Write("torn.json", good.substr(0, good.size() / 2));
  Write("0000000000000.json", good);  // the name of another attachment
  Write("huge.json", std::string(10000, ' ') + good);
  Write("README", "hello");
  ASSERT_EQ(mkfifo(At("pipe.json").c_str(), 0600), 0);
  ASSERT_TRUE(std::filesystem::create_directory(At("folder.json")));
  std::filesystem::create_symlink("/etc/passwd", At("link.json"));
  Write("killed.json.new", "{");
  const auto contents = queue.Load();
  ASSERT_TRUE(contents.ok()) << contents.status();
  EXPECT_THAT(contents->detaches, ElementsAre(kDetach));
  EXPECT_THAT(contents->problems, SizeIs(7));
  for (const std::string& problem : contents->problems) {
    EXPECT_THAT(problem, HasSubstr("set aside"));
  }
  EXPECT_TRUE(std::filesystem::exists(At("torn.json.bad")));
  EXPECT_THAT(queue.Load()->problems, IsEmpty());
}

TEST_F(DetachQueueTest, EachFieldIsChecked) {
  for (const char* text :
       {"", "{}", "[]", "null", R"({"version":2})",
        R"({"version":1,"network":"","container_id":"c","ifname":"e","with_others":true})",
        R"({"version":1,"network":"n","container_id":7,"ifname":"e","with_others":true})",
        R"({"version":1,"network":"n","container_id":"c","with_others":true})",
        R"({"version":1,"network":"n","container_id":"c","ifname":"e"})",
        R"({"version":1,"network":"n","container_id":"c","ifname":"e","with_others":1})"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseQueuedDetach(text).status())) << text;
  }
}

}  // namespace
}  // namespace vxvde
