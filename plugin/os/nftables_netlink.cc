#include "plugin/os/nftables_netlink.h"

#include <linux/netlink.h>
#include <sys/socket.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "plugin/os/fd.h"

namespace vxvde::nft {
namespace {

// The kernel's text in an error, as ": TEXT"; often empty.
std::string KernelText(const nlmsghdr* message) {
  const auto* error = static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(message));
  size_t before = sizeof(nlmsgerr);
  if ((message->nlmsg_flags & NLM_F_ACK_TLVS) == 0) return "";
  if ((message->nlmsg_flags & NLM_F_CAPPED) == 0) {
    before += MNL_ALIGN(error->msg.nlmsg_len) - sizeof(nlmsghdr);
  }
  if (message->nlmsg_len < sizeof(nlmsghdr) + before) return "";
  std::string text;
  const auto* attribute = static_cast<const nlattr*>(mnl_nlmsg_get_payload_offset(message, before));
  const auto* end = static_cast<const char*>(mnl_nlmsg_get_payload_tail(message));
  while (mnl_attr_ok(attribute, static_cast<int>(end - reinterpret_cast<const char*>(attribute)))) {
    if (mnl_attr_get_type(attribute) == NLMSGERR_ATTR_MSG &&
        mnl_attr_validate(attribute, MNL_TYPE_NUL_STRING) >= 0) {
      text = absl::StrCat(" (", mnl_attr_get_str(attribute), ")");
    }
    attribute = mnl_attr_next(attribute);
  }
  return text;
}

}  // namespace

absl::StatusOr<Socket> Connect() {
  Socket socket(mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (socket == nullptr) return ErrnoStatus(errno, "open a netfilter netlink socket");
  if (mnl_socket_bind(socket.get(), 0, MNL_SOCKET_AUTOPID) != 0) {
    return ErrnoStatus(errno, "bind a netfilter netlink socket");
  }
  // Requests errors with the kernel's text and without a copy of the message. Older kernels have
  // neither.
  int on = 1;
  for (const int option : {NETLINK_EXT_ACK, NETLINK_CAP_ACK}) {
    (void)mnl_socket_setsockopt(socket.get(), option, &on, sizeof(on));
  }
  return socket;
}

absl::Status Receive(mnl_socket* socket, std::vector<char>& buffer,
                     absl::FunctionRef<bool(const nlmsghdr*)> each) {
  while (true) {
    const ssize_t size = mnl_socket_recvfrom(socket, buffer.data(), buffer.size());
    if (size < 0 && errno == EAGAIN) return absl::OkStatus();
    // ENOBUFS: some answers were lost; the queued ones follow.
    if (size < 0 && (errno == EINTR || errno == ENOBUFS)) continue;
    if (size < 0) return ErrnoStatus(errno, "read the kernel's answer");
    int left = static_cast<int>(size);
    for (const auto* message = reinterpret_cast<const nlmsghdr*>(buffer.data());
         mnl_nlmsg_ok(message, left); message = mnl_nlmsg_next(message, &left)) {
      if (!each(message)) return absl::OkStatus();
    }
  }
}

std::optional<int> ErrorOf(const nlmsghdr* message) {
  if (message->nlmsg_type != NLMSG_ERROR || mnl_nlmsg_get_payload_len(message) < sizeof(nlmsgerr)) {
    return std::nullopt;
  }
  return -static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(message))->error;
}

std::string ErrorText(const nlmsghdr* message, int error, absl::string_view what) {
  return absl::StrCat(ErrnoStatus(error, what).message(), KernelText(message));
}

}  // namespace vxvde::nft
