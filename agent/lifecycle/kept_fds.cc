#include "agent/lifecycle/kept_fds.h"

#include <utility>

#include "plugin/base/retry.h"

namespace vxvde {

KeptFds::KeptFds(FdKeeper keeper, const Log* log)
    : log_(log), keeper_(std::move(keeper)), works_(keeper_.keep && keeper_.drop) {
  for (auto& [name, fd] : keeper_.found) entries_[name].found = std::move(fd);
  keeper_.found.clear();
}

UniqueFd KeptFds::Take(const std::string& name) {
  const MutexLock lock(&mutex_);
  const auto found = entries_.find(name);
  if (found == entries_.end() || !found->second.found) return UniqueFd();
  found->second.taken = found->second.found.get();
  return std::move(found->second.found);
}

FdStore::Ticket KeptFds::Keep(const std::string& name, int fd) {
  const MutexLock lock(&mutex_);
  if (!works_) return Ticket::kNone;
  Entry& entry = entries_[name];
  const bool is_there = entry.ticket == Ticket::kNone && entry.taken == fd;
  names_.erase(entry.ticket);
  entry = {.found = UniqueFd(), .taken = -1, .ticket = Ticket{++last_}};
  names_[entry.ticket] = name;
  const Ticket ticket = entry.ticket;
  if (!is_there) Ask([&] { return keeper_.keep(name, fd); });
  return ticket;
}

void KeptFds::Drop(Ticket ticket) {
  const MutexLock lock(&mutex_);
  const auto found = names_.find(ticket);
  if (!works_ || found == names_.end()) return;
  const std::string name = found->second;
  names_.erase(found);
  entries_.erase(name);
  Ask([&] { return keeper_.drop(name); });
}

void KeptFds::Forget(const std::string& name) {
  const MutexLock lock(&mutex_);
  const auto found = entries_.find(name);
  if (!works_ || found == entries_.end() || found->second.ticket != Ticket::kNone) return;
  entries_.erase(found);
  Ask([&] { return keeper_.drop(name); });
}

size_t KeptFds::DropUnused() {
  const MutexLock lock(&mutex_);
  size_t dropped = 0;
  for (auto at = entries_.begin(); at != entries_.end();) {
    if (at->second.ticket != Ticket::kNone) {
      ++at;
      continue;
    }
    if (works_) Ask([this, &name = at->first] { return keeper_.drop(name); });
    at = entries_.erase(at);
    ++dropped;
  }
  return dropped;
}

void KeptFds::Seal() {
  const MutexLock lock(&mutex_);
  works_ = false;
}

void KeptFds::Ask(const std::function<absl::Status()>& request) {
  // A keeper that misses a message goes on to keep the descriptor, and its port with it.
  const absl::Status status = RetryOnce(request);
  if (status.ok()) return;
  works_ = false;
  log_->Warn("descriptors not kept",
             {{"keeper", keeper_.what},
              {"error", std::string(status.message())},
              {"effect", "a restart of this agent loses the frames that wait in them"}});
}

}  // namespace vxvde
