#include "plugin/os/unix_socket.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace vxvde {
namespace {

using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class UnixSocketTest : public testing::Test {
 protected:
  UnixSocketTest() {
    std::string pattern = "/tmp/unix_socket.XXXXXX";  // short enough for a socket
    folder_ = mkdtemp(pattern.data());
    path_ = folder_ + "/s";
  }
  ~UnixSocketTest() override { std::filesystem::remove_all(folder_); }

  // Listens, connects, and accepts.
  void Open() {
    absl::StatusOr<UniqueFd> listener = ListenUnix(path_, 8);
    ASSERT_TRUE(listener.ok()) << listener.status();
    listener_ = *std::move(listener);
    absl::StatusOr<UniqueFd> client = ConnectUnix(path_, 10s);
    ASSERT_TRUE(client.ok()) << client.status();
    client_ = *std::move(client);
    server_.Reset(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    ASSERT_TRUE(server_);
  }
  absl::StatusOr<UnixMessage> Receive() { return ReceiveUnix(server_, buffer_); }
  std::string Text(const UnixMessage& message) {
    return std::string(buffer_.begin(), buffer_.begin() + static_cast<ptrdiff_t>(message.size));
  }
  static ino_t Inode(int fd) {
    struct stat info = {};
    EXPECT_EQ(fstat(fd, &info), 0);
    return info.st_ino;
  }

  std::string folder_;
  std::string path_;
  UniqueFd listener_;
  UniqueFd client_;
  UniqueFd server_;
  std::array<uint8_t, 64> buffer_ = {};
};

TEST_F(UnixSocketTest, AMessageCarriesDescriptors) {
  Open();
  const UniqueFd file(open("/dev/null", O_RDONLY | O_CLOEXEC));
  const UniqueFd folder(open(folder_.c_str(), O_RDONLY | O_CLOEXEC));
  ASSERT_TRUE(SendUnix(client_, "two", std::array{file.get(), folder.get()}).ok());
  ASSERT_TRUE(SendUnix(client_, "none").ok());
  const absl::StatusOr<UnixMessage> two = Receive();
  ASSERT_TRUE(two.ok()) << two.status();
  EXPECT_EQ(Text(*two), "two");
  EXPECT_FALSE(two->truncated);
  ASSERT_THAT(two->fds, SizeIs(2));
  EXPECT_EQ(Inode(two->fds[0].get()), Inode(file.get()));
  EXPECT_EQ(Inode(two->fds[1].get()), Inode(folder.get()));
  for (const UniqueFd& fd : two->fds) EXPECT_EQ(fcntl(fd.get(), F_GETFD), FD_CLOEXEC);
  const absl::StatusOr<UnixMessage> none = Receive();
  ASSERT_TRUE(none.ok()) << none.status();
  EXPECT_EQ(Text(*none), "none");
  EXPECT_THAT(none->fds, IsEmpty());
}

TEST_F(UnixSocketTest, BytesAndDescriptorsWithoutRoomAreTruncated) {
  Open();
  ASSERT_TRUE(SendUnix(client_, std::string(buffer_.size() + 1, 'x')).ok());
  const absl::StatusOr<UnixMessage> large = Receive();
  ASSERT_TRUE(large.ok()) << large.status();
  EXPECT_EQ(large->size, buffer_.size());
  EXPECT_TRUE(large->truncated);
  const UniqueFd file(eventfd(0, EFD_CLOEXEC));
  ASSERT_TRUE(SendUnix(client_, "many", std::vector<int>(60, file.get())).ok());
  const absl::StatusOr<UnixMessage> many = Receive();
  ASSERT_TRUE(many.ok()) << many.status();
  EXPECT_TRUE(many->truncated);
  EXPECT_LT(many->fds.size(), 60u);
}

TEST_F(UnixSocketTest, TheEndOfAConnectionIsAMessageWithoutBytes) {
  Open();
  client_.Reset();
  const absl::StatusOr<UnixMessage> end = Receive();
  ASSERT_TRUE(end.ok()) << end.status();
  EXPECT_EQ(end->size, 0u);
  const absl::Status sent = SendUnix(server_, "late");
  EXPECT_THAT(sent.message(), HasSubstr("EPIPE"));
}

TEST_F(UnixSocketTest, ATimeoutIsDeadlineExceeded) {
  Open();
  const absl::StatusOr<UniqueFd> hasty = ConnectUnix(path_, 1ms);
  ASSERT_TRUE(hasty.ok()) << hasty.status();
  EXPECT_TRUE(absl::IsDeadlineExceeded(ReceiveUnix(*hasty, buffer_).status()));
  absl::Status sent;
  while (sent.ok()) sent = SendUnix(*hasty, std::string(1000, 'x'));
  EXPECT_TRUE(absl::IsDeadlineExceeded(sent)) << sent;
  // The listener does not block.
  UniqueFd accepted(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  EXPECT_TRUE(accepted);
  EXPECT_EQ(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC), -1);
  EXPECT_EQ(errno, EAGAIN);
}

TEST_F(UnixSocketTest, ThePeerIsKnown) {
  Open();
  for (const UniqueFd* end : {&client_, &server_}) {
    const absl::StatusOr<ucred> peer = UnixPeer(*end);
    ASSERT_TRUE(peer.ok()) << peer.status();
    EXPECT_EQ(peer->pid, getpid());
    EXPECT_EQ(peer->uid, geteuid());
  }
}

TEST_F(UnixSocketTest, AListenerReplacesASocketAndNoOtherFile) {
  Open();
  struct stat info = {};
  ASSERT_EQ(stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  EXPECT_TRUE(ListenUnix(path_, 8).ok());
  ASSERT_EQ(unlink(path_.c_str()), 0);
  const UniqueFd file(open(path_.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
  EXPECT_TRUE(absl::IsAlreadyExists(ListenUnix(path_, 8).status()));
}

TEST_F(UnixSocketTest, APathThatIsTooLongIsRefused) {
  const std::string path = "/" + std::string(200, 'x');
  EXPECT_TRUE(absl::IsInvalidArgument(ListenUnix(path, 8).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(ConnectUnix(path, 1s).status()));
}

TEST_F(UnixSocketTest, NoListenerIsAnError) {
  EXPECT_TRUE(absl::IsNotFound(ConnectUnix(path_, 1s).status()));
  Open();
  listener_.Reset();
  EXPECT_TRUE(absl::IsUnavailable(ConnectUnix(path_, 1s).status()));
}

}  // namespace
}  // namespace vxvde
