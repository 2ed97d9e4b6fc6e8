#include "plugin/os/nftables.h"

#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <nftables/libnftables.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "plugin/base/status.h"

namespace vxvde {
namespace {

using Context = std::unique_ptr<nft_ctx, decltype(&nft_ctx_free)>;

// A context for each call: it caches what it has read of the kernel, and others write there too.
absl::StatusOr<Context> NewContext() {
  Context context(nft_ctx_new(NFT_CTX_DEFAULT), &nft_ctx_free);
  if (context == nullptr || nft_ctx_buffer_output(context.get()) != 0 ||
      nft_ctx_buffer_error(context.get()) != 0) {
    return absl::ResourceExhaustedError("nftables: no memory for a context of libnftables");
  }
  nft_ctx_output_set_flags(context.get(), NFT_CTX_OUTPUT_STATELESS);
  return context;
}

// `error` as libnftables tells it: "Error: WHY", then the place in the commands.
absl::Status NftError(const std::string& what, const char* error) {
  std::string first = error == nullptr ? "" : error;
  first.resize(std::min(first.size(), first.find('\n')));
  const std::string message = absl::StrCat(what, ": ", first);
  if (absl::StrContains(first, "Operation not permitted")) {
    return absl::PermissionDeniedError(
        absl::StrCat(message, " (it takes CAP_NET_ADMIN in the network namespace)"));
  }
  if (absl::StrContains(first, "No such file or directory")) return absl::NotFoundError(message);
  return absl::InternalError(message);
}

}  // namespace

absl::Status RunNft(const std::string& commands) {
  ASSIGN_OR_RETURN(const Context context, NewContext());
  if (nft_run_cmd_from_buffer(context.get(), commands.c_str()) == 0) return absl::OkStatus();
  return NftError("change nftables", nft_ctx_get_error_buffer(context.get()));
}

absl::StatusOr<std::string> ListNftTable(const std::string& table) {
  ASSIGN_OR_RETURN(const Context context, NewContext());
  const std::string command = absl::StrCat("list table ", table);
  if (nft_run_cmd_from_buffer(context.get(), command.c_str()) == 0) {
    return std::string(nft_ctx_get_output_buffer(context.get()));
  }
  const absl::Status status =
      NftError(absl::StrCat("nftables: ", command), nft_ctx_get_error_buffer(context.get()));
  if (absl::IsNotFound(status)) return std::string();
  return status;
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
    char byte;  // the rest of a message is thrown away with it
    // ENOBUFS: messages were lost, which says the same.
    if (recv(fd_.get(), &byte, sizeof(byte), 0) < 0 && errno != EINTR && errno != ENOBUFS) return;
  }
}

}  // namespace vxvde
