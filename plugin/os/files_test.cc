#include "plugin/os/files.h"

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

class FilesTest : public testing::Test {
 protected:
  FilesTest() {
    std::string pattern = testing::TempDir() + "/files.XXXXXX";
    folder_ = mkdtemp(pattern.data());
    path_ = At("file");
  }
  ~FilesTest() override { std::filesystem::remove_all(folder_); }

  std::string At(const std::string& name) const { return folder_ + "/" + name; }
  static void Write(const std::string& path, const std::string& text) {
    std::ofstream(path) << text;
  }

  std::string folder_;
  std::string path_;
};

TEST_F(FilesTest, AReplacedFileIsRead) {
  for (const std::string& text : {std::string("one"), std::string(), std::string(100'000, 'x')}) {
    ASSERT_TRUE(ReplaceFile(path_, text).ok());
    EXPECT_EQ(*ReadFile(path_, 1 << 20), text);
  }
  struct stat info = {};
  ASSERT_EQ(stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  EXPECT_THAT(*ListFolder(folder_), ElementsAre("file"));
}

TEST_F(FilesTest, AFailedReplacementLeavesTheOldFile) {
  ASSERT_TRUE(ReplaceFile(path_, "old").ok());
  ASSERT_TRUE(std::filesystem::create_directory(path_ + kPartialSuffix));
  EXPECT_FALSE(ReplaceFile(path_, "new").ok());
  EXPECT_EQ(*ReadFile(path_, 100), "old");
  // A folder cannot be replaced, and no partial file remains.
  ASSERT_TRUE(std::filesystem::create_directory(At("folder")));
  EXPECT_FALSE(ReplaceFile(At("folder"), "new").ok());
  EXPECT_FALSE(std::filesystem::exists(At("folder") + kPartialSuffix));
}

TEST_F(FilesTest, OnlyARegularFileOfALimitedSizeIsRead) {
  EXPECT_TRUE(absl::IsNotFound(ReadFile(path_, 100).status()));
  Write(path_, std::string(101, 'x'));
  EXPECT_TRUE(absl::IsInvalidArgument(ReadFile(path_, 100).status()));
  EXPECT_TRUE(ReadFile(path_, 101).ok());
  ASSERT_TRUE(std::filesystem::create_directory(At("folder")));
  ASSERT_EQ(mkfifo(At("pipe").c_str(), 0600), 0);
  std::filesystem::create_symlink(path_, At("link"));
  for (const char* name : {"folder", "pipe", "link"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ReadFile(At(name), 1000).status())) << name;
  }
  EXPECT_TRUE(ReadFile(At("link"), 1000, FileKind::kAny).ok());
  EXPECT_TRUE(ReadFile("/dev/null", 1000, FileKind::kAny).ok());
}

TEST_F(FilesTest, ListsNamesInOrder) {
  EXPECT_TRUE(absl::IsNotFound(ListFolder(At("none")).status()));
  EXPECT_THAT(*ListFolder(folder_), IsEmpty());
  for (const char* name : {"b", "a", ".c"}) Write(At(name), "");
  EXPECT_THAT(*ListFolder(folder_), ElementsAre(".c", "a", "b"));
}

TEST_F(FilesTest, RemovingAndMakingTwiceIsFine) {
  Write(path_, "");
  EXPECT_TRUE(RemoveFile(path_).ok());
  EXPECT_TRUE(RemoveFile(path_).ok());
  EXPECT_TRUE(MakeFolder(path_, 0700).ok());
  EXPECT_TRUE(MakeFolder(path_, 0700).ok());
  EXPECT_FALSE(RemoveFile(path_).ok()) << "a folder";
  EXPECT_FALSE(MakeFolder(At("none/folder"), 0700).ok());
}

TEST_F(FilesTest, ABadFileIsSetAside) {
  Write(path_, "torn");
  const std::string said = SetAside(path_, absl::InvalidArgumentError("not JSON"));
  EXPECT_THAT(said, HasSubstr(path_ + ": not JSON; set aside as " + path_ + ".bad"));
  EXPECT_THAT(*ListFolder(folder_), ElementsAre("file.bad"));
  EXPECT_THAT(SetAside(path_, absl::InvalidArgumentError("gone")), HasSubstr("cannot be renamed"));
}

}  // namespace
}  // namespace vxvde
