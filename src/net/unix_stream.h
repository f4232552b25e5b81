// One connection on the loop (a unix socket or a TCP one): bytes in, bytes out, with bounds on
// both.
#pragma once
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

namespace boost::asio {
class io_context;
}

namespace ptwop::net {

/// Derive from it to give the bytes a meaning. All on the loop's thread; kept alive by what is
/// under way on the socket and by whoever holds a shared_ptr. Reading goes on until it is paused:
/// the deriving class bounds what it leaves unconsumed.
class UnixStream : public std::enable_shared_from_this<UnixStream> {
 public:
  UnixStream(boost::asio::io_context& loop, int fd);  ///< Owns the connected socket.
  virtual ~UnixStream();
  UnixStream(const UnixStream&) = delete;
  UnixStream& operator=(const UnixStream&) = delete;

  void start();   ///< Once, when a shared_ptr holds it.
  void flush();   ///< Hands to the kernel what was appended to `out()`; the rest follows when there
                  ///< is room.
  void finish();  ///< Sends what is left, then ends the connection so that the other side can still
                  ///< read it.
  void close();   ///< At once.
  bool closed() const;

 protected:
  virtual void on_input() = 0;   ///< More input. A flush follows by itself.
  virtual void on_end() = 0;     ///< The other side will send no more; it may still read.
  virtual void on_room() = 0;    ///< Some of what was unsent is with the kernel now.
  virtual void on_closed() = 0;  ///< Once.

  std::string_view input()
      const;  ///< What came and is not consumed: valid until on_… returns or reading resumes.
  void consume(size_t bytes);
  void pause_reading(bool paused);
  std::string& out();
  size_t unsent() const;

 private:
  struct Io;
  std::unique_ptr<Io> io_;
};

}  // namespace ptwop::net
