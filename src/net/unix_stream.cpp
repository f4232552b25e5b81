#include "net/unix_stream.h"

#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cassert>
#include <cstring>

namespace ptwop::net {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;
using Protocol = asio::generic::stream_protocol;

constexpr size_t kInputBytesStart = 16 << 10;
constexpr size_t kInputBytesKept = 64 << 10;  ///< A bigger buffer is given back when it is empty.
constexpr size_t kOutputBytesKept = 256 << 10;
// After the last answer: what the other side is still sending is thrown away for a moment, since
// closing with unread input would reset the connection under its hands.
constexpr size_t kLingerBytesMax = 16 << 20;
constexpr auto kLingerTime = std::chrono::seconds(1);

}  // namespace

struct UnixStream::Io {
  Io(UnixStream& owner, asio::io_context& loop, int fd)
      : stream(owner), socket(loop), linger(loop) {
    error_code error;
    socket.assign(Protocol(AF_UNSPEC, SOCK_STREAM), fd, error);
    if (!error) socket.non_blocking(true, error);
    closed = bool(error);
  }

  void make_room() {
    if (begin == end) {
      begin = end = 0;
      if (capacity > kInputBytesKept) reallocate(kInputBytesStart);
    }
    if (capacity - end >= kInputBytesStart / 2) return;
    if (begin > 0) {
      std::memmove(in.get(), in.get() + begin, end - begin);
      end -= std::exchange(begin, 0);
    }
    if (capacity - end < kInputBytesStart / 2) reallocate(std::max(kInputBytesStart, capacity * 2));
  }

  void reallocate(size_t size) {
    auto next = std::make_unique_for_overwrite<char[]>(size);
    if (end > begin) std::memcpy(next.get(), in.get() + begin, end - begin);
    end -= std::exchange(begin, 0);
    in = std::move(next);
    capacity = size;
  }

  void read() {
    if (reading || ended || closed || (paused && !finishing)) return;
    reading = true;
    make_room();
    socket.async_read_some(asio::buffer(in.get() + end, capacity - end),
                           [self = stream.shared_from_this()](error_code error, size_t size) {
                             self->io_->on_read(error, size);
                           });
  }

  void on_read(error_code error, size_t size) {
    reading = false;
    if (closed) return;
    if (error && error != asio::error::eof) return stream.close();
    if (finishing) return discard(error, size);
    end += size;
    if (error) {
      ended = true;
      stream.on_end();
    } else {
      stream.on_input();
    }
    stream.flush();
    read();
  }

  void discard(error_code error, size_t size) {
    lingered += size;
    ended = bool(error);
    if (shut && (ended || lingered > kLingerBytesMax)) return stream.close();
    read();
  }

  void flush() {
    if (closed || waiting) return;
    while (sent < out.size()) {
      error_code error;
      sent += socket.write_some(asio::buffer(out.data() + sent, out.size() - sent), error);
      if (error == asio::error::would_block) return wait_for_room();
      if (error) return stream.close();
    }
    sent = 0;
    out.clear();
    if (out.capacity() > kOutputBytesKept) out.shrink_to_fit();
    if (finishing) shut_down();
  }

  void wait_for_room() {
    if (sent > out.size() / 2) out.erase(0, std::exchange(sent, 0));
    waiting = true;
    socket.async_wait(Protocol::socket::wait_write, [self = stream.shared_from_this()](error_code) {
      Io& io = *self->io_;
      io.waiting = false;
      if (io.closed) return;
      io.flush();
      if (io.closed || io.finishing) return;
      self->on_room();
      io.flush();
      io.read();
    });
  }

  void shut_down() {
    if (shut) return;
    shut = true;
    if (ended) return stream.close();
    error_code ignored;
    socket.shutdown(Protocol::socket::shutdown_send, ignored);
    linger.expires_after(kLingerTime);
    linger.async_wait([self = stream.shared_from_this()](error_code cancelled) {
      if (!cancelled) self->close();
    });
    read();
  }

  UnixStream& stream;
  Protocol::socket socket;
  asio::steady_timer linger;
  std::unique_ptr<char[]> in;
  size_t capacity = 0, begin = 0, end = 0;
  std::string out;
  size_t sent = 0, lingered = 0;
  bool reading = false, paused = false, waiting = false;
  bool ended = false, finishing = false, shut = false, closed = false;
};

UnixStream::UnixStream(asio::io_context& loop, int fd)
    : io_(std::make_unique<Io>(*this, loop, fd)) {}
UnixStream::~UnixStream() = default;

void UnixStream::start() { io_->read(); }
void UnixStream::flush() { io_->flush(); }
bool UnixStream::closed() const { return io_->closed; }
std::string_view UnixStream::input() const {
  return {io_->in.get() + io_->begin, io_->end - io_->begin};
}
std::string& UnixStream::out() { return io_->out; }
size_t UnixStream::unsent() const { return io_->out.size() - io_->sent; }

void UnixStream::consume(size_t bytes) {
  assert(bytes <= io_->end - io_->begin);
  io_->begin += bytes;
}

void UnixStream::pause_reading(bool paused) {
  const bool resumed = std::exchange(io_->paused, paused) && !paused;
  if (resumed) io_->read();
}

void UnixStream::finish() {
  if (io_->finishing) return;
  io_->finishing = true;
  io_->begin = io_->end = 0;
  io_->flush();
}

void UnixStream::close() {
  if (io_->closed) return;
  io_->closed = true;
  error_code ignored;
  io_->socket.close(ignored);
  io_->linger.cancel();
  on_closed();
}

}  // namespace ptwop::net
