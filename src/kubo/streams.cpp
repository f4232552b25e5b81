#include "kubo/streams.h"

#include <utility>

#include "kubo/client.h"

namespace ptwop::kubo {

void Streams::want(const ipld::Cid& channel) {
  auto& stream = streams_[channel];
  if (stream) return;
  stream = std::make_unique<Stream>(loop_, retry_ms_max_);
  if (ready_) open(channel, *stream);
}

void Streams::unwant(const ipld::Cid& channel) {
  auto found = streams_.find(channel);
  if (found == streams_.end()) return;
  close(*found->second);
  streams_.erase(found);
}

void Streams::set_ready(bool ready) {
  if (ready == std::exchange(ready_, ready)) return;
  for (auto& [channel, stream] : streams_) {
    close(*stream);
    stream->retry.reset();
    if (ready) open(channel, *stream);
  }
}

void Streams::open(const ipld::Cid& channel, Stream& stream) {
  stream.lines = LineSplitter(kLineBytesMax);
  Call call;
  call.path = "pubsub/sub?arg=" + multibase(topic_of(channel));
  call.timeout_ms =
      0;  // Silence is not a fault; the client's light check notices a Kubo that hangs.
  call.on_data = [this, channel](BytesView data) { on_data(channel, data); };
  call.done = [this, channel](const Result<Bytes>&) { on_end(channel); };
  stream.in_flight = api_.start(std::move(call));
}

void Streams::close(Stream& stream) {
  stream.retry.cancel();
  if (stream.in_flight) api_.cancel(std::exchange(stream.in_flight, 0));
}

void Streams::on_data(const ipld::Cid& channel, BytesView data) {
  auto found = streams_.find(channel);
  if (found == streams_.end()) return;
  // Kept by its number: a message's receiver may end this very subscription.
  const auto id = found->second->in_flight;
  LineSplitter lines = std::move(found->second->lines);
  const bool bounded = lines.feed(data, [&](std::string_view line) {
    auto message = parse_message(line);
    if (!message) {
      hooks_.on_refused();
      return true;
    }
    hooks_.on_message(channel, message->from, std::move(message->data));
    found = streams_.find(channel);
    return found != streams_.end() && found->second->in_flight == id;
  });
  found = streams_.find(channel);
  if (found == streams_.end() || found->second->in_flight != id) return;
  found->second->retry.reset();
  found->second->lines = std::move(lines);
  if (bounded) return;
  hooks_.on_refused();
  close(*found->second);
  on_end(channel);
}

void Streams::on_end(const ipld::Cid& channel) {
  auto found = streams_.find(channel);
  if (found == streams_.end()) return;
  Stream& stream = *found->second;
  stream.in_flight = 0;
  if (ready_) {
    stream.retry.again([this, channel] {
      if (auto wanted = streams_.find(channel); ready_ && wanted != streams_.end())
        open(channel, *wanted->second);
    });
  }
  hooks_.on_broken();
}

}  // namespace ptwop::kubo
