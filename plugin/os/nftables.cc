#include "plugin/os/nftables.h"

#include <fcntl.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <nftables/libnftables.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "plugin/base/status.h"

namespace vxvde {
namespace {

constexpr char kDone[] = "D";
constexpr char kFailed[] = "F";

using Context = std::unique_ptr<nft_ctx, decltype(&nft_ctx_free)>;

// A context for each call: it caches the kernel's state, which other programs change too.
absl::StatusOr<Context> NewContext() {
  Context context(nft_ctx_new(NFT_CTX_DEFAULT), &nft_ctx_free);
  if (context == nullptr || nft_ctx_buffer_output(context.get()) != 0 ||
      nft_ctx_buffer_error(context.get()) != 0) {
    return absl::ResourceExhaustedError("nftables: no memory for a context of libnftables");
  }
  nft_ctx_output_set_flags(context.get(), NFT_CTX_OUTPUT_STATELESS);
  return context;
}

// `error` in the format of libnftables: "Error: WHY", then the position in the commands.
absl::Status NftError(const std::string& what, const char* error) {
  std::string first = error == nullptr ? "" : error;
  first.resize(std::min(first.size(), first.find('\n')));
  const std::string message = absl::StrCat(what, ": ", first);
  if (absl::StrContains(first, "Operation not permitted")) {
    return absl::PermissionDeniedError(
        absl::StrCat(message, " (this requires CAP_NET_ADMIN in the network namespace)"));
  }
  if (absl::StrContains(first, "No such file or directory")) return absl::NotFoundError(message);
  return absl::InternalError(message);
}

// The reply to `commands`: a letter, kDone or kFailed, and the output or the error.
std::string Said(const std::string& commands) {
  const absl::StatusOr<Context> context = NewContext();
  if (!context.ok()) return absl::StrCat(kFailed, context.status().message());
  nft_ctx* const nft = context->get();
  if (nft_run_cmd_from_buffer(nft, commands.c_str()) == 0) {
    return absl::StrCat(kDone, nft_ctx_get_output_buffer(nft));
  }
  return absl::StrCat(kFailed, nft_ctx_get_error_buffer(nft));
}

// Runs in a child, because libnftables calls exit() if it cannot open a socket or read a reply
// (netlink_io_error() and netlink_init_error() in src/netlink.c).
absl::StatusOr<std::string> Ask(const std::string& what, const std::string& commands) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return ErrnoStatus(errno, "make a pipe for nftables");
  const UniqueFd here(ends[0]);
  UniqueFd there(ends[1]);
  const pid_t child = fork();
  if (child < 0) return ErrnoStatus(errno, "start a process for nftables");
  if (child == 0) {
    // If libnftables calls exit(), this handler runs first and skips those of the parent.
    std::atexit([] { _exit(1); });
    const std::string said = Said(commands);
    size_t written = 0;
    while (written < said.size()) {
      const ssize_t n = write(there.get(), said.data() + written, said.size() - written);
      if (n > 0) written += static_cast<size_t>(n);
      if (n <= 0 && errno != EINTR) break;
    }
    _exit(0);
  }
  there.Reset();
  std::string said;
  std::array<char, 4096> buffer;
  while (true) {
    const ssize_t n = read(here.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    said.append(buffer.data(), static_cast<size_t>(n));
  }
  while (waitpid(child, nullptr, 0) < 0 && errno == EINTR) continue;
  if (said.empty())
    return absl::UnavailableError(absl::StrCat(what, ": libnftables failed without a message"));
  if (said[0] == kFailed[0]) return NftError(what, said.c_str() + 1);
  return said.substr(1);
}

}  // namespace

absl::Status RunNft(const std::string& commands) {
  return Ask("change nftables", commands).status();
}

absl::StatusOr<std::string> ListNftTable(const std::string& table) {
  const std::string command = absl::StrCat("list table ", table);
  absl::StatusOr<std::string> listed = Ask(absl::StrCat("nftables: ", command), command);
  if (absl::IsNotFound(listed.status())) return std::string();
  return listed;
}

absl::StatusOr<NftMonitor> NftMonitor::Open() {
  UniqueFd fd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_NETFILTER));
  if (!fd) return ErrnoStatus(errno, "open a netfilter netlink socket");
  sockaddr_nl address = {};
  address.nl_family = AF_NETLINK;
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return ErrnoStatus(errno, "bind a netfilter netlink socket");
  }
  const int group = NFNLGRP_NFTABLES;
  if (setsockopt(fd.get(), SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) != 0) {
    return ErrnoStatus(errno, "listen for changes of nftables");
  }
  return NftMonitor(std::move(fd));
}

void NftMonitor::Drain() {
  while (true) {
    char byte;  // the rest of a message is discarded with it
    // ENOBUFS: messages were lost, which is also a change.
    if (recv(fd_.get(), &byte, sizeof(byte), 0) < 0 && errno != EINTR && errno != ENOBUFS) return;
  }
}

}  // namespace vxvde
