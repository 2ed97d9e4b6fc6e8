// Temporary network namespaces; the contract is in testing.h.

#include "plugin/os/testing.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sstream>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "plugin/os/netns.h"

namespace vxvde {

void DieOf(const absl::Status& status) {
  std::fprintf(stderr, "test set-up: %s\n", status.ToString().c_str());
  std::abort();
}

TestNetNs::TestNetNs() {
  std::thread([this] {
    if (unshare(CLONE_NEWNET) != 0) DieOf(ErrnoStatus(errno, "make a network namespace"));
    fd_ = ValueOrDie(CurrentNetNs());
  }).join();
  LinkChange up;
  up.up = true;
  if (const absl::Status status = OpenNetlink().ChangeLink(IfIndex{1}, up); !status.ok()) {
    DieOf(status);
  }
}

std::string TestNetNs::path() const { return absl::StrCat("/proc/", getpid(), "/fd/", fd_.get()); }

void TestNetNs::Run(absl::FunctionRef<void()> function) const {
  const absl::Status status = RunInNetNs(fd_, [&] {
    function();
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
}

void TestNetNs::Shell(const std::string& command) const {
  // The child of system() is a copy of the thread that called it, namespace included.
  Run([&] { EXPECT_EQ(std::system(command.c_str()), 0) << command; });
}

std::string TestNetNs::Output(const std::string& command) const {
  std::string output;
  Run([&] {
    FILE* const pipe = popen(command.c_str(), "re");
    if (pipe == nullptr) return DieOf(ErrnoStatus(errno, command));
    char buffer[4096];
    for (size_t n = 0; (n = fread(buffer, 1, sizeof(buffer), pipe)) > 0;) output.append(buffer, n);
    EXPECT_EQ(pclose(pipe), 0) << command;
  });
  return output;
}

Netlink TestNetNs::OpenNetlink() const { return ValueOrDie(Netlink::OpenIn(fd_)); }

IfIndex TestNetNs::SetUp(const std::string& link, const std::string& prefix) const {
  Netlink netlink = OpenNetlink();
  const IfIndex index = ValueOrDie(netlink.GetLink(link)).index;
  LinkChange up;
  up.up = true;
  for (const absl::Status& status :
       {netlink.ChangeLink(index, up),
        netlink.AddAddress(index, ValueOrDie(IpPrefix::Parse(prefix)))}) {
    if (!status.ok()) DieOf(status);
  }
  return index;
}

void TestNetNs::WaitUntilRunning(IfIndex link) const {
  Netlink netlink = OpenNetlink();
  EXPECT_TRUE(WaitFor([&] { return ValueOrDie(netlink.GetLink(link)).running; }));
}

uint64_t TestNetNs::Snmp(const std::string& protocol, const std::string& counter) const {
  // Two lines a protocol: names, then values.
  uint64_t value = 0;
  Run([&] {
    std::ifstream file("/proc/thread-self/net/snmp");
    std::string names;
    std::string values;
    while (std::getline(file, names) && std::getline(file, values)) {
      std::istringstream name_words(names);
      std::istringstream value_words(values);
      std::string name;
      std::string word;
      while (name_words >> name && value_words >> word) {
        if (name == counter && names.starts_with(protocol + ":")) {
          value = std::stoull(word);
          return;
        }
      }
    }
    ADD_FAILURE() << "no counter " << protocol << " " << counter;
  });
  return value;
}

void ConnectVeth(const TestNetNs& a, const std::string& name_a, const TestNetNs& b,
                 const std::string& name_b, int mtu) {
  VethSpec spec;
  spec.here.name = name_a;
  spec.there.name = name_b;
  spec.there_netns = b.fd().get();
  spec.mtu = mtu;
  const absl::Status status = a.OpenNetlink().CreateVeth(spec);
  if (!status.ok()) DieOf(status);
}

void RunWithFailing(int number, int error, absl::FunctionRef<void()> function) {
  std::thread([&] {
    sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(number), 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<uint32_t>(error)),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog filter = {std::size(program), program};
    ASSERT_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
    ASSERT_EQ(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter), 0);
    function();
  }).join();
}

bool WaitFor(absl::FunctionRef<bool()> condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

}  // namespace vxvde
