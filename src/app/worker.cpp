#include "app/worker.h"

#include <pthread.h>

#include <chrono>

namespace ptwop::app {

uint64_t mono_ms() {
  using namespace std::chrono;
  return static_cast<uint64_t>(
      duration_cast<milliseconds>(steady_clock::now().time_since_epoch()).count());
}

Worker::Worker(const char* name, AfterBatch after_each_batch)
    : after_(std::move(after_each_batch)), thread_([this] { loop(); }) {
  pthread_setname_np(thread_.native_handle(), name);
}

Worker::~Worker() { stop(); }

void Worker::run(Job job) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return;
    jobs_.push_back(std::move(job));
    if (jobs_.size() > 1) return;  // it was told already
  }
  wake_.notify_one();
}

void Worker::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
}

void Worker::loop() {
  uint64_t due_ms = after_ ? mono_ms() : 0;
  std::vector<Job> batch;
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      const auto ready = [this] { return !jobs_.empty() || stopping_; };
      if (due_ms == 0) {
        wake_.wait(lock, ready);
      } else {
        using namespace std::chrono;
        wake_.wait_until(lock, steady_clock::time_point(milliseconds(due_ms)), ready);
      }
      if (jobs_.empty() && stopping_) return;
      batch.swap(jobs_);
    }
    for (Job& job : batch) job();
    batch.clear();
    if (after_) due_ms = after_();
  }
}

}  // namespace ptwop::app
