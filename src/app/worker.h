// A thread that runs what it is given, in order.
#pragma once
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace ptwop::app {

/// Takes all that waits at once, runs it, then calls `after_each_batch`, which says when it wants
/// to be called again at the latest although nothing came (mono ms; 0: never).
class Worker {
 public:
  using Job = std::function<void()>;
  using AfterBatch = std::function<uint64_t()>;

  Worker(const char* name, AfterBatch after_each_batch);
  ~Worker();  ///< stop()
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  /// From any thread. After stop() the job is destroyed without being run.
  void run(Job job);
  /// Runs what waits, then ends the thread.
  void stop();

 private:
  void loop();

  AfterBatch after_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<Job> jobs_;
  bool stopping_ = false;
  std::thread thread_;
};

/// CLOCK_MONOTONIC in ms.
uint64_t mono_ms();

}  // namespace ptwop::app
