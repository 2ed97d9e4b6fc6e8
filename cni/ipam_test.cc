// Delegation, with small shell scripts as IPAM plugins.

#include "cni/ipam.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <utility>

#include "cni/error.h"
#include "plugin/os/fd.h"

namespace vxvde {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class IpamTest : public testing::Test {
 protected:
  void SetUp() override {
    signal(SIGPIPE, SIG_IGN);  // as main() does
    std::string pattern = testing::TempDir() + "/ipam.XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    delegate_.type = "fake";
    delegate_.path = {folder_};
    delegate_.config = R"({"name": "blue", "ipam": {"type": "fake"}})";
  }

  std::string At(const std::string& name) const { return folder_ + "/" + name; }

  void Script(const std::string& name, const std::string& body, mode_t mode = 0755) {
    std::ofstream(At(name)) << "#!/bin/sh\n" << body;
    ASSERT_EQ(chmod(At(name).c_str(), mode), 0);
  }

  std::string Read(const std::string& name) const {
    std::ostringstream text;
    text << std::ifstream(At(name)).rdbuf();
    return text.str();
  }

  Environment environment_ = {
      {"CNI_COMMAND", "X"}, {"CNI_ARGS", "IP=192.0.2.7"}, {"PATH", "/usr/bin:/bin"}};
  IpamDelegate delegate_;
  Container container_ = {.id = "c1", .netns = "/run/netns/pod", .ifname = "eth0"};
  std::string folder_;
};

TEST_F(IpamTest, P1_SameEnvironmentAndCompleteConfiguration) {
  Script("fake", "cat > " + At("stdin") + "\necho $CNI_COMMAND $CNI_ARGS > " + At("env") +
                     R"(
echo '{"cniVersion": "1.0.0", "ips": [{"address": "192.0.2.7/24"}]}')");
  ExecIpamPlugin ipam(environment_);
  const absl::StatusOr<CniResult> result = ipam.Add(delegate_, container_);
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_EQ(result->addresses.size(), 1u);
  EXPECT_EQ(result->addresses[0].address.ToString(), "192.0.2.7/24");
  EXPECT_EQ(Read("stdin"), delegate_.config);
  EXPECT_EQ(Read("env"), "ADD IP=192.0.2.7\n");
  ASSERT_TRUE(ipam.Delete(delegate_, container_).ok());
  EXPECT_EQ(Read("env"), "DEL IP=192.0.2.7\n");
}

TEST_F(IpamTest, P1_FoldersAreSearchedInOrder) {
  ASSERT_EQ(mkdir(At("a").c_str(), 0755), 0);
  ASSERT_EQ(mkdir(At("b").c_str(), 0755), 0);
  ASSERT_EQ(mkdir(At("c").c_str(), 0755), 0);
  ASSERT_EQ(mkdir(At("a/fake").c_str(), 0755), 0);  // a folder is no plugin
  Script("b/fake", R"(echo '{"ips": [{"address": "192.0.2.2/24"}]}')");
  Script("c/fake", R"(echo '{"ips": [{"address": "192.0.2.3/24"}]}')");
  delegate_.path = {At("missing"), At("a"), At("b"), At("c")};
  const absl::StatusOr<CniResult> result = ExecIpamPlugin(environment_).Add(delegate_, container_);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->addresses[0].address.ToString(), "192.0.2.2/24");
}

TEST_F(IpamTest, MissingPluginIsNamedWithThePath) {
  const CniError error =
      ToCniError(ExecIpamPlugin(environment_).Add(delegate_, container_).status());
  EXPECT_EQ(error.code, 7u);
  EXPECT_THAT(error.msg, AllOf(HasSubstr("CNI_PATH"), HasSubstr("fake"), HasSubstr(folder_)));
}

TEST_F(IpamTest, ErrorOfThePluginIsPassedOn) {
  Script("fake",
         R"(echo '{"cniVersion": "1.0.0", "code": 11, "msg": "full", "details": "wait"}'; exit 1)");
  const CniError error =
      ToCniError(ExecIpamPlugin(environment_).Add(delegate_, container_).status());
  EXPECT_EQ(error.code, 11u);
  EXPECT_THAT(error.msg, AllOf(HasSubstr("full"), HasSubstr("fake")));
  EXPECT_EQ(error.details, "wait");
}

TEST_F(IpamTest, FailureWithoutErrorObjectShowsTheOutput) {
  Script("fake", "echo panic: nil; exit 2");
  CniError error = ToCniError(ExecIpamPlugin(environment_).Delete(delegate_, container_));
  EXPECT_EQ(error.code, 999u);
  EXPECT_THAT(error.msg, HasSubstr("exit status 2"));
  EXPECT_THAT(error.details, HasSubstr("panic: nil"));
  Script("fake", "kill -9 $$");
  error = ToCniError(ExecIpamPlugin(environment_).Delete(delegate_, container_));
  EXPECT_THAT(error.msg, HasSubstr("signal 9"));
}

TEST_F(IpamTest, NonsenseForAResultIsAnError) {
  Script("fake", "echo hello");
  EXPECT_EQ(ToCniError(ExecIpamPlugin(environment_).Add(delegate_, container_).status()).code, 6u);
}

TEST_F(IpamTest, NeitherPipeBlocksTheOther) {
  // Larger than a pipe (64 KiB) both ways, written before anything is read.
  Script("fake", R"(head -c 300000 /dev/zero | tr '\0' ' '
wc -c > )" + At("count") +
                     R"(
echo '{"ips": [{"address": "192.0.2.7/24"}]}')");
  delegate_.config = std::string(500000, ' ');
  const absl::StatusOr<CniResult> result = ExecIpamPlugin(environment_).Add(delegate_, container_);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(std::stoi(Read("count")), 500000);
}

TEST_F(IpamTest, PluginThatReadsNothingIsFine) {
  Script("fake", R"(exec <&-
echo '{"ips": [{"address": "192.0.2.7/24"}]}')");
  delegate_.config = std::string(500000, ' ');
  EXPECT_TRUE(ExecIpamPlugin(environment_).Add(delegate_, container_).ok());
}

TEST_F(IpamTest, EndlessOutputIsCutOff) {
  Script("fake", "exec cat /dev/zero");
  EXPECT_THAT(ExecIpamPlugin(environment_).Add(delegate_, container_).status().message(),
              HasSubstr("1 MiB"));
}

TEST_F(IpamTest, P1_PluginThatIsBeingWrittenIsRetried) {
  // execve returns ETXTBSY for a program that is open for writing, but not for a script.
  std::ofstream(At("fake"), std::ios::binary)
      << std::ifstream("/bin/true", std::ios::binary).rdbuf();
  ASSERT_EQ(chmod(At("fake").c_str(), 0755), 0);
  UniqueFd writer(open(At("fake").c_str(), O_WRONLY | O_CLOEXEC));
  ASSERT_TRUE(writer);
  const pid_t probe = fork();
  if (probe == 0) {
    execl(At("fake").c_str(), "fake", nullptr);
    _exit(errno == ETXTBSY ? 77 : 1);
  }
  int status_of_probe = 0;
  ASSERT_EQ(waitpid(probe, &status_of_probe, 0), probe);
  ASSERT_EQ(WEXITSTATUS(status_of_probe), 77) << "this kernel does not return ETXTBSY";
  const UniqueFd watch(inotify_init1(IN_CLOEXEC));
  ASSERT_GE(inotify_add_watch(watch.get(), At("fake").c_str(), IN_OPEN), 0);
  absl::Status status;
  std::thread run([&] { status = ExecIpamPlugin(environment_).Delete(delegate_, container_); });
  // Each attempt opens the file: a second open means that the first attempt failed.
  bool retried = true;
  for (int attempt = 0; attempt < 2; ++attempt) {
    pollfd opened = {watch.get(), POLLIN, 0};
    retried = retried && poll(&opened, 1, 4000) == 1;
    std::array<char, 4096> events;
    if (retried) retried = read(watch.get(), events.data(), events.size()) > 0;
  }
  writer.Reset();
  run.join();
  EXPECT_TRUE(retried);
  EXPECT_TRUE(status.ok()) << status;
}

TEST_F(IpamTest, AFileThatCannotBeRunIsAnError) {
  std::ofstream(At("fake")) << "no program";
  ASSERT_EQ(chmod(At("fake").c_str(), 0755), 0);
  EXPECT_THAT(ExecIpamPlugin(environment_).Delete(delegate_, container_).message(),
              HasSubstr(At("fake")));
}

TEST_F(IpamTest, E10_PluginOlderThan110IsCalledIn100) {
  Script("fake", R"(config=$(cat)
case $config in
*1.1.0*) echo '{"code": 1, "msg": "incompatible"}'; exit 1;;
*'"cniVersion":"1.0.0"'*) echo '{"ips": [{"address": "192.0.2.7/24"}]}';;
esac)");
  delegate_.config = R"({"cniVersion": "1.1.0", "name": "blue"})";
  delegate_.version = SpecVersion::k110;
  EXPECT_TRUE(ExecIpamPlugin(environment_).Add(delegate_, container_).ok());
  EXPECT_TRUE(ExecIpamPlugin(environment_).Delete(delegate_, container_).ok());
  delegate_.version = SpecVersion::k040;  // then the refusal stands
  EXPECT_EQ(ToCniError(ExecIpamPlugin(environment_).Delete(delegate_, container_)).code, 1u);
}

TEST_F(IpamTest, S1_OldPluginsHaveNoStatus) {
  for (const auto& [code, ok] :
       {std::pair{1, true}, {3, true}, {4, true}, {50, false}, {999, false}}) {
    Script("fake", "echo '{\"code\": " + std::to_string(code) + ", \"msg\": \"m\"}'; exit 1");
    EXPECT_EQ(ExecIpamPlugin(environment_).CheckStatus(delegate_).ok(), ok) << code;
  }
}

TEST_F(IpamTest, S1_MissingPluginIsNotAnOldOne) {
  const CniError error = ToCniError(ExecIpamPlugin(environment_).CheckStatus(delegate_));
  EXPECT_EQ(error.code, 7u);
  EXPECT_THAT(error.msg, HasSubstr("fake"));
}

// GC runs DEL for containers that the environment does not name.
TEST_F(IpamTest, G1_TheContainerIsThatOfTheCall) {
  Script("fake", "cat > /dev/null; echo $CNI_COMMAND $CNI_CONTAINERID $CNI_IFNAME $CNI_NETNS > " +
                     At("seen"));
  container_ = {.id = "c7", .netns = "/run/netns/c7", .ifname = "net1"};
  EXPECT_TRUE(ExecIpamPlugin(environment_).Delete(delegate_, container_).ok());
  EXPECT_EQ(Read("seen"), "DEL c7 net1 /run/netns/c7\n");
  EXPECT_TRUE(ExecIpamPlugin(environment_).CollectGarbage(delegate_).ok());
  EXPECT_THAT(Read("seen"), HasSubstr("GC"));
  EXPECT_TRUE(ExecIpamPlugin(environment_).Check(delegate_, container_).ok());
  EXPECT_THAT(Read("seen"), HasSubstr("CHECK"));
}

}  // namespace
}  // namespace vxvde
