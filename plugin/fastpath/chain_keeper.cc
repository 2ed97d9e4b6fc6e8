#include "plugin/fastpath/chain_keeper.h"

#include <linux/capability.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "plugin/base/status.h"
#include "plugin/os/privileges.h"

namespace vxvde {
namespace {

std::string NameOf(Netlink& netlink, IfIndex index) {
  const absl::StatusOr<LinkInfo> link = netlink.GetLink(index);
  return link.ok() ? link->name : absl::StrCat("interface ", static_cast<uint32_t>(index));
}

std::string Obstacle(Netlink& netlink, IfIndex index, const Chain& chain) {
  const std::string before = chain.Before();
  if (before.empty()) return "";
  return absl::StrCat(before, " at ", NameOf(netlink, index),
                      " runs before the agent's and may keep frames from it");
}

// A pod's XDP program is at its end of the pair. Where that end cannot be seen, the program counts
// as native, which is right for both kinds and costs a little.
void LookAtPod(Netlink& netlink, IfIndex host_end, Seen& seen) {
  const absl::StatusOr<LinkInfo> here = netlink.GetLink(host_end);
  if (!here.ok() || here->kind != "veth") return;
  if (here->peer_elsewhere && !here->peer_netns.has_value()) {
    seen.pod_native_xdp = true;
    return;
  }
  const absl::StatusOr<LinkInfo> pod = here->peer_netns.has_value()
                                           ? netlink.GetLinkIn(*here->peer_netns, here->peer)
                                           : netlink.GetLink(here->peer);
  if (absl::IsNotFound(pod.status())) return;  // the pod is ending
  seen.pod_native_xdp = !pod.ok() || pod->xdp_native;
  seen.pod_generic_xdp = pod.ok() && pod->xdp_generic;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ChainKeeper>> ChainKeeper::Start(bool tcx) {
  ASSIGN_OR_RETURN(Netlink netlink, Netlink::Open());
  ASSIGN_OR_RETURN(LinkWatch changes, LinkWatch::Open());
  UniqueFd wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake) return ErrnoStatus(errno, "make an eventfd");
  std::unique_ptr<ChainKeeper> keeper(
      new ChainKeeper(tcx && HasTcx(), std::move(netlink), std::move(changes), std::move(wake)));
  try {
    keeper->thread_ = std::thread([raw = keeper.get()] { raw->Run(); });
  } catch (const std::system_error& error) {
    return ErrnoStatus(error.code().value(), "start a thread that looks at tc programs");
  }
  return keeper;
}

ChainKeeper::ChainKeeper(bool tcx, Netlink netlink, LinkWatch changes, UniqueFd wake)
    : tcx_(tcx),
      netlink_(std::move(netlink)),
      changes_(std::move(changes)),
      wake_(std::move(wake)) {}

ChainKeeper::~ChainKeeper() { Stop(); }

void ChainKeeper::Stop() {
  {
    const MutexLock lock(&mutex_);
    ends_ = true;
  }
  Wake();
  if (thread_.joinable()) thread_.join();
}

void ChainKeeper::Keep(IfIndex index, Where where, int program, const Seen& seen) {
  {
    const MutexLock lock(&mutex_);
    Kept& kept = kept_[index];
    kept.where = where;
    kept.program = program;
    kept.seen = seen;
    kept.fresh = true;
    std::erase_if(released_, [&](const Released& one) { return one.index == index; });
  }
  Wake();
}

void ChainKeeper::Release(IfIndex index) {
  {
    const MutexLock lock(&mutex_);
    const auto found = kept_.find(index);
    if (found == kept_.end()) return;
    if (tcx_) released_.push_back({index, found->second.program});
    kept_.erase(found);
  }
  Wake();
}

Seen ChainKeeper::At(IfIndex index) const {
  const std::optional<Kept> kept = Find(index);
  return kept.has_value() ? kept->seen : Seen{};
}

absl::StatusOr<Seen> ChainKeeper::LookNow(Netlink& netlink, IfIndex index, Where where,
                                          int program) {
  ASSIGN_OR_RETURN(const Chain chain, LookAtChain(netlink, index, program));
  Seen seen{.obstacle = Obstacle(netlink, index, chain), .filters_egress = chain.filters_egress};
  if (where == Where::kHostEnd) LookAtPod(netlink, index, seen);
  return seen;
}

std::optional<ChainKeeper::Kept> ChainKeeper::Find(IfIndex index) const {
  const MutexLock lock(&mutex_);
  const auto found = kept_.find(index);
  if (found == kept_.end()) return std::nullopt;
  return found->second;
}

void ChainKeeper::Wake() const {
  const uint64_t one = 1;
  (void)!write(wake_.get(), &one, sizeof(one));  // full: the thread is already awake
}

// ---------------------------------------------------------------- the thread

void ChainKeeper::Run() {
  // The thread attaches and inspects programs, and needs no other capabilities. If this fails, it
  // keeps more.
  (void)KeepCapabilities({CAP_NET_ADMIN, CAP_BPF});
  Instant next = Clock::now() + kPeriod;
  for (uint64_t turn = 0;;) {
    std::array<pollfd, 2> fds = {pollfd{.fd = changes_.fd(), .events = POLLIN, .revents = 0},
                                 pollfd{.fd = wake_.get(), .events = POLLIN, .revents = 0}};
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(next - Clock::now());
    (void)poll(fds.data(), fds.size(), static_cast<int>(std::max<int64_t>(left.count() + 1, 0)));
    uint64_t woken;
    (void)!read(wake_.get(), &woken, sizeof(woken));
    const LinkWatch::Changes changes = changes_.Read();
    const bool periodic = Clock::now() >= next;
    if (periodic) {
      next = Clock::now() + kPeriod;
      ++turn;
    }

    bool ends = false;
    std::vector<Released> released;
    std::vector<std::pair<IfIndex, bool>> looks;
    {
      const MutexLock lock(&mutex_);
      ends = ends_;
      released = std::exchange(released_, {});
      for (auto& [index, kept] : kept_) {
        const uint64_t place = static_cast<uint32_t>(index) + turn;
        const bool whole = std::exchange(kept.fresh, false) || changes.lost ||
                           changes.links.contains(index) ||
                           (periodic && place % (kHostEndTurns * kXdpTurns) == 0);
        const bool due =
            periodic && (kept.where == Where::kUplink ||
                         (kept.where == Where::kHostEnd && place % kHostEndTurns == 0));
        if (whole || due) looks.emplace_back(index, whole);
      }
    }
    for (const Released& one : released) {
      memory_.erase(one.index);
      TakeOutOfTcx(one.index, one.program);
    }
    if (ends) return;
    for (const auto& [index, whole] : looks) Look(index, whole);
  }
}

void ChainKeeper::Look(IfIndex index, bool whole) {
  const std::optional<Kept> kept = Find(index);
  if (!kept.has_value()) {
    memory_.erase(index);
    return;
  }
  Memory& memory = memory_[index];
  // As they are before the look: a change by another program during it makes the next look whole.
  std::vector<uint32_t> ingress = ListTcx(index, Direction::kIngress);
  std::vector<uint32_t> egress = ListTcx(index, Direction::kEgress);
  if (!whole && ingress == memory.ingress && egress == memory.egress) return;
  memory.ingress = std::move(ingress);
  memory.egress = std::move(egress);
  absl::StatusOr<Chain> chain = LookAtChain(netlink_, index, kept->program);
  if (!chain.ok()) return;  // the next period tries again
  std::string problem;
  if (!chain->filter) PutBack(index, *kept, *chain, problem);
  if (tcx_) GoFirst(index, *kept, memory, *chain, problem);
  Seen seen{.obstacle = Obstacle(netlink_, index, *chain), .filters_egress = chain->filters_egress};
  if (seen.obstacle.empty() && !chain->filter && !chain->first) {
    seen.obstacle = absl::StrCat("the agent's program at ", NameOf(netlink_, index),
                                 " is gone and could not be put back: ", problem);
  }
  if (kept->where == Where::kHostEnd) LookAtPod(netlink_, index, seen);
  const MutexLock lock(&mutex_);
  if (const auto found = kept_.find(index); found != kept_.end()) found->second.seen = seen;
}

void ChainKeeper::PutBack(IfIndex index, const Kept& kept, Chain& chain, std::string& problem) {
  const absl::Status attached = AttachProgram(index, kept.program);
  chain.filter = attached.ok();
  problem = std::string(attached.message());
  if (Find(index).has_value()) {
    if (attached.ok() || !absl::IsNotFound(netlink_.GetLink(index).status())) return;
    const MutexLock lock(&mutex_);
    kept_.erase(index);  // with its interface
  } else {
    DetachProgram(index);  // released meanwhile
  }
}

void ChainKeeper::GoFirst(IfIndex index, const Kept& kept, Memory& memory, Chain& chain,
                          std::string& problem) {
  const bool wanted =
      kept.where == Where::kUplink || (kept.where == Where::kHostEnd && !chain.Before().empty());
  if (chain.first || !wanted) {
    memory.was_first = memory.was_first || chain.first;
    return;
  }
  const Instant now = Clock::now();
  if (chain.tcx.empty()) {
    memory.truce = false;
  } else if (memory.was_first && !memory.truce) {
    memory.truce = memory.moved.has_value() && now - *memory.moved < kTruce;
    memory.moved = now;
  }
  if (memory.truce) return;
  const absl::Status first = PutFirst(index, kept.program);
  if (!first.ok()) {
    problem = std::string(first.message());
    return;
  }
  chain.first = memory.was_first = true;
  memory.ingress = {0};  // no program has this id: the next look is whole
  if (!Find(index).has_value()) TakeOutOfTcx(index, kept.program);  // released meanwhile
}

}  // namespace vxvde
