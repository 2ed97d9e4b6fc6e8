// An attacker on the LAN: datagrams that no member would send, as fast as possible. IPv4 only.
//
//   hostile KIND MS GROUP GROUP_PORT VNI TARGET... [--mac MAC] [--source-port PORT] [--most COUNT]
//           [--first STATION]
//
// Sends for MS milliseconds, or COUNT datagrams, alternately to the group and to each TARGET
// (ADDRESS:PORT), and prints the number of sent datagrams as JSON: {"sent": N}. Kinds:
//
//   short bad-header wrong-vni short-frame group-source   each is dropped for one reason
//   leave         the header alone
//   sources       to `--mac`, each from a station of its own, with numbers from `--first` on
//   arp nd igmp   broadcasts or multicasts, truncated
//   conflict      a broadcast from `--mac`
//   member        a broadcast from one station: it is valid

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
using Bytes = std::vector<uint8_t>;
using Mac = std::array<uint8_t, 6>;

constexpr Mac kAll = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
constexpr Mac kMulticast4 = {0x01, 0x00, 0x5e, 0x00, 0x00, 0x16};  // of 224.0.0.22 (RFC 1112, 6.4)
constexpr Mac kMulticast6 = {0x33, 0x33, 0xff, 0x00, 0x00, 0x01};  // RFC 2464, section 7
constexpr Mac kStranger = {0x02, 0x66, 0x66, 0x66, 0x66, 0x66};
constexpr Mac kGroupSource = {0x03, 0x66, 0x66, 0x66, 0x66, 0x66};

[[noreturn]] void Fail(const std::string& what) {
  std::perror(("hostile: " + what).c_str());
  std::exit(1);
}

[[noreturn]] void Usage(const std::string& what) {
  std::fprintf(stderr, "hostile: %s\n", what.c_str());
  std::exit(2);
}

sockaddr_in Address(const std::string& address, int port) {
  sockaddr_in out = {};
  out.sin_family = AF_INET;
  out.sin_port = htons(static_cast<uint16_t>(port));
  if (inet_pton(AF_INET, address.c_str(), &out.sin_addr) != 1) Usage(address + ": no address");
  return out;
}

Mac ParseMac(const char* text) {
  Mac mac;
  std::array<unsigned, 6> n = {};
  if (std::sscanf(text, "%x:%x:%x:%x:%x:%x", &n[0], &n[1], &n[2], &n[3], &n[4], &n[5]) != 6) {
    Usage(std::string(text) + ": no MAC");
  }
  std::copy(n.begin(), n.end(), mac.begin());
  return mac;
}

Bytes Frame(const Mac& to, const Mac& from, uint16_t type, Bytes payload) {
  Bytes frame(to.begin(), to.end());
  frame.insert(frame.end(), from.begin(), from.end());
  frame.push_back(static_cast<uint8_t>(type >> 8));
  frame.push_back(static_cast<uint8_t>(type));
  frame.insert(frame.end(), payload.begin(), payload.end());
  return frame;
}

struct Recipe {
  Bytes header;
  Bytes frame;
  bool new_sources = false;
};

Recipe Cook(const std::string& kind, uint32_t vni, const Mac& mac) {
  const auto header = [](uint32_t of) {
    return Bytes{0x08,
                 0,
                 0,
                 0,
                 static_cast<uint8_t>(of >> 16),
                 static_cast<uint8_t>(of >> 8),
                 static_cast<uint8_t>(of),
                 0};
  };
  const Bytes good = header(vni);
  const Bytes member = Frame(kAll, kStranger, 0x88b6, Bytes(46));
  if (kind == "short") return {{0x08, 0, 0}, {}};
  if (kind == "bad-header") {
    Bytes bad = good;
    bad[0] = 0x0c;
    return {bad, member};
  }
  if (kind == "wrong-vni") return {header(vni ^ 1), member};
  if (kind == "short-frame") return {good, Bytes(12, 0xff)};
  if (kind == "group-source") return {good, Frame(kAll, kGroupSource, 0x88b6, Bytes(46))};
  if (kind == "leave") return {good, {}};
  if (kind == "sources") return {good, Frame(mac, kStranger, 0x88b6, Bytes(46)), true};
  // RFC 826: hardware, protocol, lengths and operation, without the rest.
  if (kind == "arp") return {good, Frame(kAll, kStranger, 0x0806, {0, 1, 8, 0, 6, 4, 0, 1, 2})};
  if (kind ==
      "nd") {  // a solicitation (RFC 4861, section 4.3) that is shorter than its length field
    Bytes ip(42);
    ip[0] = 0x60;
    ip[5] = 32;
    ip[6] = 58;
    ip[7] = 255;
    ip[40] = 135;
    return {good, Frame(kMulticast6, kStranger, 0x86dd, ip)};
  }
  if (kind == "igmp") {  // a report (RFC 3376, section 4.2) of 65,535 groups that contains none
    Bytes ip(32);
    ip[0] = 0x46;
    ip[3] = 32;
    ip[8] = 1;
    ip[9] = 2;
    ip[20] = 0x94;  // router alert (RFC 2113)
    ip[21] = 4;
    ip[24] = 0x22;
    ip[30] = ip[31] = 0xff;
    return {good, Frame(kMulticast4, kStranger, 0x0800, ip)};
  }
  if (kind == "conflict") return {good, Frame(kAll, mac, 0x88b6, Bytes(46))};
  if (kind == "member") return {good, member};
  Usage("no such kind: " + kind);
}

int Open(int source_port) {
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) Fail("socket");
  const sockaddr_in here = Address("0.0.0.0", source_port);
  if (bind(fd, reinterpret_cast<const sockaddr*>(&here), sizeof(here)) != 0) Fail("bind");
  return fd;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> words;
  Mac mac = kStranger;
  int source_port = 0;
  uint64_t most = UINT64_MAX;
  uint32_t station = 0;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word.rfind("--", 0) == 0 && i + 1 == argc) Usage(word + " needs a value");
    if (word == "--mac") {
      mac = ParseMac(argv[++i]);
    } else if (word == "--source-port") {
      source_port = std::atoi(argv[++i]);
    } else if (word == "--first") {
      station = static_cast<uint32_t>(std::atoi(argv[++i]));
    } else if (word == "--most") {
      most = std::strtoull(argv[++i], nullptr, 10);
    } else {
      words.push_back(word);
    }
  }
  if (words.size() < 5) Usage("KIND MS GROUP GROUP_PORT VNI TARGET...");
  std::vector<sockaddr_in> to = {Address(words[2], std::atoi(words[3].c_str()))};
  for (size_t i = 5; i < words.size(); ++i) {
    const size_t colon = words[i].find(':');
    if (colon == std::string::npos) Usage(words[i] + ": no ADDRESS:PORT");
    to.push_back(Address(words[i].substr(0, colon), std::atoi(words[i].c_str() + colon + 1)));
  }
  const Recipe recipe = Cook(words[0], static_cast<uint32_t>(std::atoi(words[4].c_str())), mac);
  const int fd = Open(source_port);

  constexpr size_t kBatch = 64;
  std::vector<Bytes> datagrams(kBatch, recipe.header);
  std::vector<iovec> parts(kBatch);
  std::vector<mmsghdr> batch(kBatch);
  for (size_t i = 0; i < kBatch; ++i) {
    datagrams[i].insert(datagrams[i].end(), recipe.frame.begin(), recipe.frame.end());
    parts[i] = {datagrams[i].data(), datagrams[i].size()};
    batch[i] = {};
    batch[i].msg_hdr.msg_name = &to[i % to.size()];
    batch[i].msg_hdr.msg_namelen = sizeof(sockaddr_in);
    batch[i].msg_hdr.msg_iov = &parts[i];
    batch[i].msg_hdr.msg_iovlen = 1;
  }
  uint64_t sent = 0;
  const auto end = Clock::now() + std::chrono::milliseconds(std::atoi(words[1].c_str()));
  while (sent < most && Clock::now() < end) {
    for (size_t i = 0; recipe.new_sources && i < kBatch; ++i) {
      ++station;
      uint8_t* source = datagrams[i].data() + recipe.header.size() + 6;
      for (int byte = 0; byte < 4; ++byte) {
        source[2 + byte] = static_cast<uint8_t>(station >> (8 * byte));
      }
    }
    const auto count = static_cast<unsigned>(std::min<uint64_t>(kBatch, most - sent));
    const int done = sendmmsg(fd, batch.data(), count, 0);
    if (done < 0) Fail("sendmmsg");
    sent += static_cast<uint64_t>(done);
  }
  std::printf("{\"sent\": %llu}\n", static_cast<unsigned long long>(sent));
}
