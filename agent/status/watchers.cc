#include "agent/status/watchers.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace vxvde {

// The reactions below never run inside a Start...() of gRPC's callback API, so calling that under
// the mutex is safe.
class Watchers::Watcher final : public Reactor {
 public:
  Watcher(std::shared_ptr<Watchers> all, uint64_t id, std::string cloud)
      : all_(std::move(all)), id_(id), cloud_(std::move(cloud)) {}

  void Begin(const v1::Node& node) {
    all_->mutex_.AssertHeld();
    begun_ = true;
    v1::WatchResponse response;
    *response.mutable_node() = node;
    queue_.push_back(std::move(response));
    WriteNext();
  }

  void Offer(const v1::Event& event) {
    all_->mutex_.AssertHeld();
    if (!begun_ || ending_) return;
    if (!cloud_.empty() && event.cloud() != cloud_) return;
    // After a loss, all further events are lost until the queue is empty, so the count has one
    // place in the stream.
    if (lost_ > 0 || queue_.size() >= kQueue) {
      ++lost_;
      return;
    }
    v1::WatchResponse response;
    *response.mutable_event() = event;
    queue_.push_back(std::move(response));
    WriteNext();
  }

  void End(const grpc::Status& status) {
    all_->mutex_.AssertHeld();
    if (ending_) return;
    ending_ = true;
    status_ = status;
    WriteNext();
  }

  void OnWriteDone(bool ok) override {
    const MutexLock lock(&all_->mutex_);
    writing_ = false;
    if (!ok) ending_ = true;  // the stream is broken
    WriteNext();
  }

  void OnCancel() override {
    const MutexLock lock(&all_->mutex_);
    End(grpc::Status::CANCELLED);
  }

  void OnDone() override {
    const std::shared_ptr<Watchers> all = all_;  // outlives this
    const MutexLock lock(&all->mutex_);
    all->watchers_.erase(id_);
    delete this;
  }

 private:
  // I3
  void WriteNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(all_->mutex_) {
    if (writing_ || finished_) return;
    if (ending_) {
      finished_ = true;
      Finish(status_);
      return;
    }
    if (queue_.empty() && lost_ > 0) {
      v1::WatchResponse response;
      response.set_lost(std::exchange(lost_, 0));
      queue_.push_back(std::move(response));
    }
    if (queue_.empty()) return;
    writing_ = true;
    current_ = std::move(queue_.front());
    queue_.pop_front();
    StartWrite(&current_);
  }

  const std::shared_ptr<Watchers> all_;
  const uint64_t id_;
  const std::string cloud_;  // empty: all clouds

  bool begun_ ABSL_GUARDED_BY(all_->mutex_) = false;
  std::deque<v1::WatchResponse> queue_ ABSL_GUARDED_BY(all_->mutex_);
  uint64_t lost_ ABSL_GUARDED_BY(all_->mutex_) = 0;
  v1::WatchResponse current_ ABSL_GUARDED_BY(all_->mutex_);  // being written
  bool writing_ ABSL_GUARDED_BY(all_->mutex_) = false;
  bool ending_ ABSL_GUARDED_BY(all_->mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(all_->mutex_) = false;
  grpc::Status status_ ABSL_GUARDED_BY(all_->mutex_) = grpc::Status::CANCELLED;
};

Watchers::Reactor* Watchers::Refuse(const grpc::Status& status) {
  class Refused final : public Reactor {
   public:
    explicit Refused(const grpc::Status& status) { Finish(status); }
    void OnDone() override { delete this; }
  };
  return new Refused(status);
}

Watchers::Reactor* Watchers::Add(const std::string& cloud, uint64_t* id) {
  const MutexLock lock(&mutex_);
  *id = 0;
  if (!closed_.ok()) return Refuse(closed_);
  if (watchers_.size() >= kMaxWatchers) {
    return Refuse({grpc::StatusCode::RESOURCE_EXHAUSTED,
                   absl::StrCat("there are already ", kMaxWatchers, " watchers: end one of them")});
  }
  *id = next_id_++;
  return watchers_[*id] = new Watcher(shared_from_this(), *id, cloud);
}

void Watchers::Begin(uint64_t id, const v1::Node& node) {
  const MutexLock lock(&mutex_);
  const auto it = watchers_.find(id);
  if (it != watchers_.end()) it->second->Begin(node);
}

bool Watchers::empty() const {
  const MutexLock lock(&mutex_);
  return watchers_.empty();
}

void Watchers::Publish(const v1::Event& event) {
  const MutexLock lock(&mutex_);
  for (const auto& [id, watcher] : watchers_) watcher->Offer(event);
}

void Watchers::Close(const grpc::Status& status) {
  const MutexLock lock(&mutex_);
  closed_ = status;
  for (const auto& [id, watcher] : watchers_) watcher->End(status);
}

}  // namespace vxvde
