// Two new taps, each of which emits the frames that are written to the other: tap_relay NAME NAME.
// Prints "ready".
//
// This is the best case of a virtual machine's monitor with a tap: vnet headers and all offloads,
// so that super-frames pass whole and checksums stay incomplete; one read and one write a frame.

#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstring>
#include <string>

namespace {

constexpr int kNone = -1;

int OpenTap(const std::string& name) {
  const int tap = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
  ifreq request = {};
  std::strncpy(request.ifr_name, name.c_str(), IFNAMSIZ - 1);
  request.ifr_flags = static_cast<short>(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR);
  constexpr unsigned kOffloads = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
  if (tap < 0 || ioctl(tap, TUNSETIFF, &request) != 0 ||
      ioctl(tap, TUNSETOFFLOAD, kOffloads) != 0) {
    std::perror(name.c_str());
    return kNone;
  }
  return tap;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: tap_relay NAME NAME\n");
    return 2;
  }
  std::array<pollfd, 2> taps;
  for (size_t i = 0; i < taps.size(); ++i) {
    taps[i] = {.fd = OpenTap(argv[i + 1]), .events = POLLIN, .revents = 0};
    if (taps[i].fd == kNone) return 1;
  }
  std::printf("ready\n");
  std::fflush(stdout);
  std::array<char, 10 + 65536 + 64> frame;  // preceded by struct virtio_net_hdr
  constexpr int kBatch = 64;
  while (true) {
    poll(taps.data(), taps.size(), -1);
    for (size_t i = 0; i < taps.size(); ++i) {
      for (int n = 0; n < kBatch; ++n) {
        const ssize_t size = read(taps[i].fd, frame.data(), frame.size());
        if (size <= 0) break;
        // A frame that the other one does not accept (it is down, or its queue is full) is lost.
        (void)!write(taps[1 - i].fd, frame.data(), static_cast<size_t>(size));
      }
    }
  }
}
