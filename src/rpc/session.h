// One connection: lines in, answers out, within the bounds of rpc.md.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/limits.h"
#include "net/unix_stream.h"
#include "rpc/dispatcher.h"
#include "rpc/framing.h"

namespace ptwop::rpc {

/// What connections share.
struct SessionPart {
  Dispatcher& dispatcher;
  Stats& stats;
  const std::function<size_t()>& pending_of_all;  ///< Sum of pending() over the connections.
};

class Session final : public net::UnixStream, public Caller {
 public:
  Session(boost::asio::io_context& loop, int fd, const SessionPart& part);

  /// Nothing is left to be handed to the kernel.
  bool all_sent() const { return unsent() == 0; }
  /// Bytes of answers that are made and not handed to the kernel, and of pages that are being made.
  size_t pending() const { return unread() + large_in_flight_ * limits::kPageBytesMax; }
  /// Gives one error of the protocol and ends the connection.
  void refuse(Code code, std::string message);

  std::function<void()> on_gone;  ///< Once, when the connection is closed.

 private:
  /// A batch under way. Its elements start in order; its answers come as they finish.
  struct Batch {
    json::Value document;
    std::vector<std::string> sources;  ///< The elements' texts, where needed for their ids.
    size_t next = 0;                   ///< The first element that was not started.
    size_t waiting = 0;                ///< Started and not answered.
    std::string answers;               ///< Those not handed on yet.
    bool streaming = false;            ///< Its first answers are on their way already.
    bool exhausted() const { return next == document.items.size(); }
  };
  using Batches = std::map<uint64_t, Batch>;

  // net::UnixStream
  void on_input() override { pump(); }
  void on_end() override;
  void on_room() override { pump(); }
  void on_closed() override;
  // Caller
  void on_answer(uint64_t tag, AnswerSize size, std::string text) override;
  void on_answers_end() override;

  void pump();
  bool batch_left() const;
  bool start_next_line();
  void start_line(std::string_view line);
  bool took(Dispatcher::Outcome outcome);
  void start_batch(json::Value document, std::string_view line);
  bool start_next_of_batch();

  size_t unread() const { return unsent() + held_.size() + kept_; }
  bool crowded() const;
  bool all_in_flight() const;
  bool room_for_line();
  bool room_for(const Batch& batch);
  std::string& line_out();
  void add_to_batch(Batches::iterator batch, std::string_view answer);
  void stream(Batches::iterator batch);
  void end_batch_if_done(Batches::iterator batch);
  std::shared_ptr<Caller> caller();

  SessionPart part_;
  Framing framing_;
  size_t in_flight_ = 0;
  size_t large_in_flight_ = 0;  ///< Those of them whose answers may be large.
  Batches batches_;
  size_t kept_ = 0;          ///< Bytes of `answers` of all batches.
  uint64_t last_batch_ = 0;  ///< Tags of batches count from 1; 0 is a request of its own.
  uint64_t streaming_ =
      0;  ///< The batch whose array is half written; others' answers are held meanwhile.
  std::string held_;
  bool ended_ = false;        ///< Nothing more will be sent to us,
  bool all_started_ = false;  ///< and every line of it was started.
  bool refused_ = false;
};

}  // namespace ptwop::rpc
