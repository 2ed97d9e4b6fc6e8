// Small traffic, measured: single requests with their responses, and floods of small datagrams,
// which iperf3 cannot generate. IPv4 only; each figure is one line of JSON on standard output.
//
//   traffic respond udp|tcp ADDRESS PORT       answers each byte with a byte; prints "ready" first
//   traffic ask udp|tcp ADDRESS PORT MS        one request at a time: {"count", "p50_us", "p99_us"}
//   traffic flood ADDRESS PORT SIZE MS         one send() for each datagram; broadcast as well
//   traffic sink PORT MS                       prints "ready"; measures for MS after the first
//       datagram, without the first tenth: {"packets", "seconds", "busy"}; busy: of all CPUs

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

sockaddr_in Address(const char* address, const char* port) {
  sockaddr_in out = {};
  out.sin_family = AF_INET;
  out.sin_port = htons(static_cast<uint16_t>(std::atoi(port)));
  if (inet_pton(AF_INET, address, &out.sin_addr) != 1) {
    std::fprintf(stderr, "traffic: %s is not an IPv4 address\n", address);
    std::exit(2);
  }
  return out;
}

const sockaddr* Generic(const sockaddr_in& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

[[noreturn]] void Fail(const char* what) {
  std::perror(what);
  std::exit(1);
}

void Set(int fd, int level, int option, int value) {
  if (setsockopt(fd, level, option, &value, sizeof(value)) != 0) Fail("traffic: setsockopt");
}

void GiveUpAfter(int fd, int seconds) {
  const timeval patience = {.tv_sec = seconds, .tv_usec = 0};
  if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) != 0) {
    Fail("traffic: setsockopt");
  }
}

int Open(bool tcp) {
  const int fd = socket(AF_INET, (tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0);
  if (fd < 0) Fail("traffic: socket");
  return fd;
}

void Ready() {
  std::printf("ready\n");
  std::fflush(stdout);
}

void Respond(bool tcp, const sockaddr_in& where) {
  const int fd = Open(tcp);
  if (tcp) Set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
  if (bind(fd, Generic(where), sizeof(where)) != 0) Fail("traffic: bind");
  if (tcp && listen(fd, 1) != 0) Fail("traffic: listen");
  Ready();
  char byte = 0;
  while (!tcp) {
    sockaddr_in peer = {};
    socklen_t size = sizeof(peer);
    if (recvfrom(fd, &byte, 1, 0, reinterpret_cast<sockaddr*>(&peer), &size) == 1) {
      sendto(fd, &byte, 1, 0, Generic(peer), size);
    }
  }
  while (true) {
    const int connection = accept(fd, nullptr, nullptr);
    if (connection < 0) Fail("traffic: accept");
    Set(connection, IPPROTO_TCP, TCP_NODELAY, 1);
    while (recv(connection, &byte, 1, 0) == 1 && send(connection, &byte, 1, 0) == 1) continue;
    close(connection);
  }
}

void Ask(bool tcp, const sockaddr_in& where, std::chrono::milliseconds duration) {
  const int fd = Open(tcp);
  if (tcp) Set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
  if (connect(fd, Generic(where), sizeof(where)) != 0) Fail("traffic: connect");
  GiveUpAfter(fd, 1);  // the cost of a lost datagram, which is not counted
  std::vector<double> times;
  char byte = 0;
  const auto end = Clock::now() + duration;
  while (Clock::now() < end) {
    const auto start = Clock::now();
    if (send(fd, &byte, 1, 0) == 1 && recv(fd, &byte, 1, 0) == 1) {
      times.push_back(std::chrono::duration<double, std::micro>(Clock::now() - start).count());
    }
  }
  if (times.empty()) {
    std::fprintf(stderr, "traffic: no response\n");
    std::exit(1);
  }
  std::sort(times.begin(), times.end());
  std::printf("{\"count\": %zu, \"p50_us\": %.1f, \"p99_us\": %.1f}\n", times.size(),
              times[times.size() / 2], times[times.size() * 99 / 100]);
}

void Flood(const sockaddr_in& where, size_t size, std::chrono::milliseconds duration) {
  const int fd = Open(false);
  Set(fd, SOL_SOCKET, SO_BROADCAST, 1);
  if (connect(fd, Generic(where), sizeof(where)) != 0) Fail("traffic: connect");
  const std::vector<char> payload(size);
  const auto end = Clock::now() + duration;
  while (Clock::now() < end) {
    // A full queue on the path is no error: the receiver counts the datagrams that arrive.
    for (int i = 0; i < 32; ++i) (void)!send(fd, payload.data(), payload.size(), 0);
  }
}

// Seconds that the machine's CPUs have been busy since boot.
double Busy() {
  std::array<long, 8> ticks = {};  // user nice system idle iowait irq softirq steal
  FILE* stat = std::fopen("/proc/stat", "re");
  if (stat == nullptr) Fail("traffic: /proc/stat");
  const int read = std::fscanf(stat, "cpu %ld %ld %ld %ld %ld %ld %ld %ld", &ticks[0], &ticks[1],
                               &ticks[2], &ticks[3], &ticks[4], &ticks[5], &ticks[6], &ticks[7]);
  std::fclose(stat);
  if (read != 8) Fail("traffic: /proc/stat");
  const long busy = ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6];
  return static_cast<double>(busy) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

// Reads many datagrams at once and sleeps in between: a reader that wakes for each datagram would
// cost more than the measured path.
class Drain {
 public:
  explicit Drain(int fd) : fd_(fd) {
    for (size_t i = 0; i < messages_.size(); ++i) {
      parts_[i] = {payloads_[i].data(), payloads_[i].size()};
      messages_[i].msg_hdr.msg_iov = &parts_[i];
      messages_[i].msg_hdr.msg_iovlen = 1;
    }
  }

  size_t Read() {
    const int count = recvmmsg(fd_, messages_.data(), messages_.size(), MSG_DONTWAIT, nullptr);
    const size_t read = count > 0 ? static_cast<size_t>(count) : 0;
    if (read < messages_.size()) usleep(200);
    return read;
  }

 private:
  int fd_;
  std::array<mmsghdr, 256> messages_ = {};
  std::array<iovec, 256> parts_;
  std::array<std::array<char, 64>, 256> payloads_;
};

void Sink(const sockaddr_in& where, std::chrono::milliseconds duration) {
  const int fd = Open(false);
  Set(fd, SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20);
  if (bind(fd, Generic(where), sizeof(where)) != 0) Fail("traffic: bind");
  Ready();
  Drain drain(fd);
  const auto patience = Clock::now() + std::chrono::seconds(10);
  while (drain.Read() == 0) {
    if (Clock::now() < patience) continue;
    std::fprintf(stderr, "traffic: no datagram came\n");
    std::exit(1);
  }
  const auto first = Clock::now();
  const auto start = first + duration / 10;
  while (Clock::now() < start) drain.Read();

  const double busy = Busy();
  const auto from = Clock::now();
  size_t packets = 0;
  while (Clock::now() < first + duration) packets += drain.Read();
  const double seconds = std::chrono::duration<double>(Clock::now() - from).count();
  std::printf("{\"packets\": %zu, \"seconds\": %.6f, \"busy\": %.3f}\n", packets, seconds,
              Busy() - busy);
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  const auto is = [&](const char* verb, size_t count) {
    return words.size() == count && words[0] == verb;
  };
  const auto milliseconds = [&] { return std::chrono::milliseconds(std::stol(words.back())); };
  if (is("respond", 4)) {
    Respond(words[1] == "tcp", Address(argv[3], argv[4]));
  } else if (is("ask", 5)) {
    Ask(words[1] == "tcp", Address(argv[3], argv[4]), milliseconds());
  } else if (is("flood", 5)) {
    Flood(Address(argv[2], argv[3]), std::stoul(words[3]), milliseconds());
  } else if (is("sink", 3)) {
    Sink(Address("0.0.0.0", argv[2]), milliseconds());
  } else {
    std::fprintf(stderr,
                 "usage: traffic respond udp|tcp ADDRESS PORT | ask udp|tcp ADDRESS PORT MS |\n"
                 "       flood ADDRESS PORT SIZE MS | sink PORT MS\n");
    return 2;
  }
  return 0;
}
