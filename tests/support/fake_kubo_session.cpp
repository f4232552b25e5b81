#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <deque>

#include "base/json.h"
#include "ipld/cid.h"
#include "support/fake_kubo_state.h"

namespace ptwop::test {
namespace asio = boost::asio;
namespace http = boost::beast::http;

namespace {

constexpr size_t kBlockBytesMax = 2 << 20;
constexpr size_t kMessageBytesMax =
    (1 << 20) - 64;  // a message of 1,048,576 B is dropped, and nobody told
constexpr const char* kPubsubOff =
    "experimental pubsub feature not enabled, run daemon with --enable-pubsub-experiment to use";
constexpr const char* kForbidden =
    "Kubo RPC Access Denied: Please provide a valid authorization token as defined in the "
    "API.Authorizations "
    "configuration.";

std::string unescape(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    auto byte = text[i] == '%' ? from_hex(text.substr(i + 1, 2)) : std::nullopt;
    out += byte ? *byte : Bytes(1, text[i]);
    if (byte) i += 2;
  }
  return out;
}

std::vector<Bytes> parts_of(std::string_view body, std::string_view content_type) {
  std::vector<Bytes> parts;
  const size_t at = content_type.find("boundary=");
  if (at == std::string_view::npos) return parts;
  const std::string mark = "--" + std::string(content_type.substr(at + 9));
  while (true) {
    const size_t start = body.find(mark);
    if (start == std::string_view::npos) return parts;
    body.remove_prefix(start + mark.size());
    const size_t data = body.find("\r\n\r\n");
    const size_t end = body.find("\r\n" + mark);
    if (body.starts_with("--") || data == std::string_view::npos || end == std::string_view::npos)
      return parts;
    parts.emplace_back(body.substr(data + 4, end - data - 4));
  }
}

uint64_t milliseconds(const std::string& go_duration) {
  if (go_duration.empty()) return UINT64_MAX;
  const uint64_t number = std::stoull(go_duration);
  return go_duration.ends_with("ms") ? number : number * 1000;
}

std::string error_json(std::string_view message) {
  std::string out;
  json::Writer(out)
      .object()
      .key("Message")
      .string(message)
      .key("Code")
      .number(int64_t{0})
      .key("Type")
      .string("error")
      .end_object();
  return out + "\n";
}

struct Request {
  std::string path;  ///< Below /api/v0/.
  std::multimap<std::string, std::string> query;
  std::vector<Bytes> parts;

  std::string one(const std::string& name) const {
    auto found = query.find(name);
    return found == query.end() ? "" : found->second;
  }
  std::vector<std::string> all(const std::string& name) const {
    std::vector<std::string> out;
    for (auto [at, end] = query.equal_range(name); at != end; ++at) out.push_back(at->second);
    return out;
  }
};

/// One connection; answers one request after the other.
struct Session final : Connection, std::enable_shared_from_this<Session> {
  Session(std::shared_ptr<FakeKubo::Node> owner, Socket connection)
      : node(owner), loop(owner->net->loop), socket(std::move(connection)) {}

  void read() {
    parser = std::make_unique<http::request_parser<http::string_body>>();
    parser->body_limit(16 << 20);
    http::async_read(socket, buffer, *parser, [self = shared_from_this()](auto error, size_t) {
      if (error) return self->close();
      self->handle();
    });
  }

  void close() override {
    boost::system::error_code ignored;
    socket.close(ignored);
    topic.clear();
    if (auto owner = node.lock()) owner->sessions.erase(shared_from_this());
  }

  void handle() {
    auto owner = node.lock();
    if (!owner || !owner->up) return close();
    ++owner->requests;
    if (owner->faults.hang) return;
    owner->net->after(owner->faults.answer_delay_ms,
                      [self = shared_from_this()] { self->dispatch(); });
  }

  void dispatch() {
    auto owner = node.lock();
    if (!owner || !owner->up) return close();
    const auto& message = parser->get();
    if (message.method() != http::verb::post)
      return plain(405, "Method Not Allowed", "405 - Method Not Allowed\n");
    if (message[http::field::authorization] != owner->faults.authorization) {
      return plain(403, "Forbidden", kForbidden);
    }
    Request request = parse();
    if (owner->net->chance(owner->faults.refuse)) return error("the fake was told to refuse");
    if (owner->faults.garbage) return good("{\"nonsense\":[[[]]}\n\x01");
    using Handler = void (Session::*)(FakeKubo::Node&, const Request&);
    static const std::map<std::string, Handler> kHandlers = {
        {"version", &Session::version},         {"id", &Session::id},
        {"block/put", &Session::block_put},     {"block/get", &Session::block_get},
        {"pin/add", &Session::pin_add},         {"pin/update", &Session::pin_update},
        {"pin/rm", &Session::pin_rm},           {"pin/ls", &Session::pin_ls},
        {"pubsub/ls", &Session::pubsub_ls},     {"pubsub/pub", &Session::pubsub_pub},
        {"pubsub/sub", &Session::pubsub_sub},   {"repo/gc", &Session::repo_gc},
        {"p2p/ls", &Session::p2p_ls},           {"p2p/listen", &Session::p2p_listen},
        {"p2p/forward", &Session::p2p_forward}, {"p2p/close", &Session::p2p_close},
        {"swarm/peers", &Session::swarm_peers}, {"swarm/connect", &Session::swarm_connect},
        {"routing/provide", &Session::provide}, {"routing/findprovs", &Session::find_providers}};
    auto found = kHandlers.find(request.path);
    if (found == kHandlers.end()) return plain(404, "Not Found", "404 page not found\n");
    (this->*found->second)(*owner, request);
  }

  Request parse() const {
    Request request;
    std::string_view target(parser->get().target().data(), parser->get().target().size());
    constexpr std::string_view kPrefix = "/api/v0/";
    if (target.starts_with(kPrefix)) target.remove_prefix(kPrefix.size());
    const size_t mark = target.find('?');
    request.path = target.substr(0, mark);
    while (mark != std::string_view::npos && target.size() > mark + 1) {
      const size_t start = target.find_last_of("?&") + 1;
      const std::string_view pair = target.substr(start);
      const size_t equals = std::min(pair.find('='), pair.size() - 1);
      // From the back to the front, so that equal names keep their order below.
      request.query.emplace_hint(request.query.lower_bound(std::string(pair.substr(0, equals))),
                                 pair.substr(0, equals), unescape(pair.substr(equals + 1)));
      target = target.substr(0, start - 1);
    }
    const auto type = parser->get()[http::field::content_type];
    request.parts = parts_of(parser->get().body(), std::string_view(type.data(), type.size()));
    return request;
  }

  // --- answers
  // -------------------------------------------------------------------------------------------------------

  void plain(int status, const std::string& reason, const std::string& text) {
    send("HTTP/1.1 " + std::to_string(status) + " " + reason +
             "\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: " +
             std::to_string(text.size()) + "\r\n\r\n" + text,
         true);
  }
  static std::string head(int status, const std::string& reason, const std::string& type) {
    return "HTTP/1.1 " + std::to_string(status) + " " + reason + "\r\nContent-Type: " + type +
           "\r\nServer: kubo/0.43.0\r\nTrailer: X-Stream-Error\r\nTransfer-Encoding: "
           "chunked\r\n\r\n";
  }
  static std::string chunk(BytesView data) {
    char size[24];
    snprintf(size, sizeof size, "%zx\r\n", data.size());
    return data.empty() ? "" : size + std::string(data) + "\r\n";
  }
  void good(BytesView body, const std::string& stream_error = "",
            const std::string& type = "application/json") {
    std::string text = head(200, "OK", type) + chunk(body) + "0\r\n";
    if (!stream_error.empty()) text += "X-Stream-Error: " + stream_error + "\r\n";
    auto owner = node.lock();
    if (owner && owner->net->chance(owner->faults.cut)) {
      const size_t half = text.size() - body.size() / 2 - 8;
      return send(text.substr(0, half), false);
    }
    send(text + "\r\n", true);
  }
  void error(std::string_view message) {
    send(head(500, "Internal Server Error", "application/json") + chunk(error_json(message)) +
             "0\r\n\r\n",
         true);
  }
  void missing_file() { plain(400, "Bad Request", "file argument 'data' is required\n"); }

  void send(std::string text, bool keep_alive) {
    auto shared = std::make_shared<std::string>(std::move(text));
    asio::async_write(socket, asio::buffer(*shared),
                      [self = shared_from_this(), shared, keep_alive](auto failed, size_t) {
                        if (failed || !keep_alive) return self->close();
                        self->read();
                      });
  }

  // --- the calls
  // -----------------------------------------------------------------------------------------------------

  void version(FakeKubo::Node& owner, const Request&) {
    good(
        "{\"Version\":\"" + owner.faults.version +
        "\",\"Commit\":\"\",\"Repo\":\"18\",\"System\":\"amd64/linux\",\"Golang\":\"go1.26.8\"}\n");
  }
  void id(FakeKubo::Node& owner, const Request&) {
    good("{\"ID\":\"" + owner.peer_id +
         "\",\"PublicKey\":\"\",\"Addresses\":[],\"AgentVersion\":\"kubo/0.43.0\"}\n");
  }

  void block_put(FakeKubo::Node& owner, const Request& request) {
    if (request.parts.empty()) return missing_file();
    if (request.one("cid-codec") != "dag-cbor") return error("the fake stores dag-cbor only");
    std::string lines;
    for (const auto& part : request.parts) {
      if (part.size() > kBlockBytesMax) {
        constexpr const char* kTooLarge =
            "produced block is over 2MiB: big blocks can't be exchanged with other peers.";
        return lines.empty() ? error(kTooLarge) : good(lines, kTooLarge);
      }
      const std::string cid = ipld::Cid::of(part).text();
      owner.blocks[cid] = part;
      const std::string shown = owner.faults.wrong_bytes ? ipld::Cid::of(part + "x").text() : cid;
      lines += "{\"Key\":\"" + shown + "\",\"Size\":" + std::to_string(part.size()) + "}\n";
    }
    good(lines);
  }

  void block_get(FakeKubo::Node&, const Request& request) {
    const std::string cid = request.one("arg");
    if (!ipld::cid_bytes_from_text(cid))
      return error("invalid path \"" + cid + "\": path does not have enough components");
    fetch(cid, milliseconds(request.one("timeout")), request.one("offline") == "true",
          [](Session& self, const Bytes* block) {
            auto owner = self.node.lock();
            if (!block) return self.error("context deadline exceeded");
            Bytes bytes = *block;
            if (owner && owner->faults.wrong_bytes) bytes += 'x';
            self.good(bytes, "", "application/vnd.ipld.raw");
          });
  }

  // As bitswap: now, or as soon as some node that can be reached has it, or not in time.
  void fetch(const std::string& cid, uint64_t timeout_ms, bool offline,
             std::function<void(Session&, const Bytes*)> done) {
    auto owner = node.lock();
    if (!owner || !owner->up || !socket.is_open()) return close();
    const Bytes* block = owner->find(cid);
    if (!block && offline)
      return error("block was not found locally (offline): ipld: could not find " + cid);
    if (block) return done(*this, block);
    owner->each_reachable([&](FakeKubo::Node& other) {
      const Bytes* held = other.find(cid);
      if (held) block = &(owner->blocks[cid] = *held);
    });
    if (block || timeout_ms == 0) return done(*this, block);
    const uint64_t pause_ms = std::min<uint64_t>(timeout_ms, 10);
    owner->net->after(pause_ms, [self = shared_from_this(), cid, rest = timeout_ms - pause_ms,
                                 done] { self->fetch(cid, rest, false, done); });
  }

  void pin_add(FakeKubo::Node&, const Request& request) {
    pin_tree(request.one("arg"), milliseconds(request.one("timeout")),
             "pin: ", [](Session& self, FakeKubo::Node& owner, const std::string& cid) {
               owner.pins.insert(cid);
               self.good("{\"Pins\":[\"" + cid + "\"]}\n");
             });
  }

  // Fetches what the block links to, block by block, before it counts as pinned.
  void pin_tree(const std::string& root, uint64_t timeout_ms, const std::string& prefix,
                std::function<void(Session&, FakeKubo::Node&, const std::string&)> done) {
    auto owner = node.lock();
    if (!owner) return close();
    std::string missing;
    for (const auto& cid : owner->reach(root)) {
      if (!owner->find(cid)) missing = cid;
    }
    if (missing.empty()) return done(*this, *owner, root);
    fetch(missing, timeout_ms, false,
          [root, timeout_ms, prefix, done](Session& self, const Bytes* block) {
            if (!block) return self.error(prefix + "context deadline exceeded");
            self.pin_tree(root, timeout_ms, prefix, done);
          });
  }

  void pin_update(FakeKubo::Node& owner, const Request& request) {
    const auto cids = request.all("arg");
    if (cids.size() != 2) return plain(400, "Bad Request", "argument \"to-path\" is required\n");
    if (!owner.pins.count(cids[0])) return error("'from' cid was not recursively pinned already");
    pin_tree(cids[1], milliseconds(request.one("timeout")),
             "get: ", [from = cids[0]](Session& self, FakeKubo::Node& at, const std::string& to) {
               at.pins.insert(to);
               if (from != to) at.pins.erase(from);
               self.good("{\"Pins\":[\"" + from + "\",\"" + to + "\"]}\n");
             });
  }
  void pin_rm(FakeKubo::Node& owner, const Request& request) {
    if (!owner.pins.erase(request.one("arg"))) return error("not pinned or pinned indirectly");
    good("{\"Pins\":[\"" + request.one("arg") + "\"]}\n");
  }
  void pin_ls(FakeKubo::Node& owner, const Request& request) {
    const std::string cid = request.one("arg");
    if (!owner.pins.count(cid)) return error("path '" + cid + "' is not pinned");
    good("{\"Keys\":{\"" + cid + "\":{\"Type\":\"recursive\",\"Name\":\"\"}}}\n");
  }
  void repo_gc(FakeKubo::Node& owner, const Request&) {
    owner.collect_garbage();
    good("");
  }

  bool check_topic(FakeKubo::Node& owner, const Request& request) {
    if (owner.faults.pubsub_off) return error(kPubsubOff), false;
    const std::string arg = request.one("arg");
    if (arg.starts_with('u') && from_base64url(arg.substr(1))) return true;
    return error("URL arg must be multibase encoded: selected encoding not supported"), false;
  }
  void pubsub_ls(FakeKubo::Node& owner, const Request&) {
    if (owner.faults.pubsub_off) return error(kPubsubOff);
    good("{\"Strings\":null}\n");
  }
  void pubsub_pub(FakeKubo::Node& owner, const Request& request) {
    if (request.parts.size() != 1) return missing_file();
    if (!check_topic(owner, request)) return;
    const Bytes& data = request.parts[0];
    Bytes seqno;
    append_be64(seqno, ++owner.messages);
    if (data.size() <= kMessageBytesMax) {
      owner.each_reachable([&](FakeKubo::Node& other) {
        other.deliver(request.one("arg"), owner.peer_id, data, seqno);
      });
    }
    good("");
  }
  void pubsub_sub(FakeKubo::Node& owner, const Request& request) {
    if (!check_topic(owner, request)) return;
    topic = request.one("arg");
    stream(head(200, "OK", "application/json"));
    auto byte = std::make_shared<char>();
    socket.async_read_some(asio::buffer(byte.get(), 1),
                           [self = shared_from_this(), byte](auto, size_t) { self->close(); });
  }

  bool p2p_is_on(FakeKubo::Node& owner) {
    if (owner.faults.streams_off) error("libp2p stream mounting not enabled");
    return !owner.faults.streams_off;
  }
  void p2p_outcome(const std::string& complaint) {
    complaint.empty() ? good("") : error(complaint);
  }
  void p2p_ls(FakeKubo::Node& owner, const Request&) {
    if (!p2p_is_on(owner)) return;
    std::string all;
    for (const auto& each : owner.p2p)
      all += (all.empty() ? "" : ",") + ("{\"Protocol\":\"" + each->protocol) +
             "\",\"ListenAddress\":\"" + each->listen + "\",\"TargetAddress\":\"" + each->target +
             "\"}";
    good("{\"Listeners\":" + (all.empty() ? "null" : "[" + all + "]") + "}\n");
  }
  void p2p_listen(FakeKubo::Node& owner, const Request& request) {
    const auto args = request.all("arg");
    if (args.size() != 2)
      return plain(400, "Bad Request", "argument \"target-address\" is required\n");
    if (p2p_is_on(owner)) p2p_outcome(owner.p2p_listen(args[0], args[1]));
  }
  void p2p_forward(FakeKubo::Node& owner, const Request& request) {
    const auto args = request.all("arg");
    if (args.size() != 3)
      return plain(400, "Bad Request", "argument \"target-address\" is required\n");
    if (p2p_is_on(owner)) p2p_outcome(owner.p2p_forward(args[0], args[1], args[2]));
  }
  void p2p_close(FakeKubo::Node& owner, const Request& request) {
    if (!p2p_is_on(owner)) return;
    const auto fits = [&](const char* name, const std::string& value) {
      const std::string wanted = request.one(name);
      return wanted.empty() || wanted == value;
    };
    const size_t closed = std::erase_if(owner.p2p, [&](const auto& each) {
      return fits("protocol", each->protocol) && fits("listen-address", each->listen) &&
             fits("target-address", each->target);
    });
    good(std::to_string(closed) + "\n");
  }
  void swarm_peers(FakeKubo::Node& owner, const Request& request) {
    std::string all;
    owner.each_reachable([&](FakeKubo::Node& other) {
      if (&other == &owner || owner.faults.alone) return;
      const bool told = request.one("identify") == "true" && !other.faults.streams_off;
      all += (all.empty() ? "" : ",") +
             ("{\"Addr\":\"/ip4/127.0.0.1/tcp/4001\",\"Peer\":\"" + other.peer_id) +
             "\",\"Identify\":{\"ID\":\"\",\"Addresses\":null,\"Protocols\":" +
             (told ? "[\"/ipfs/ping/1.0.0\",\"/x/\"]" : "null") + "}}";
    });
    good("{\"Peers\":" + (all.empty() ? "null" : "[" + all + "]") + "}\n");
  }
  void swarm_connect(FakeKubo::Node&, const Request& request) {
    good("{\"Strings\":[\"connect " + request.one("arg") + " success\"]}\n");
  }
  void provide(FakeKubo::Node& owner, const Request& request) {
    const std::string cid = request.one("arg");
    if (!owner.find(cid)) return error("block " + cid + " not found locally, cannot provide");
    good("");
  }
  // As with Routing.Type none: nobody is found, unless a test names somebody.
  void find_providers(FakeKubo::Node& owner, const Request&) {
    std::string lines;
    for (const std::string& id : owner.faults.providers)
      lines += "{\"Extra\":\"\",\"ID\":\"\",\"Responses\":[{\"Addrs\":[],\"ID\":\"" + id +
               "\"}],\"Type\":4}\n";
    good(lines);
  }

  void stream_line(const std::string& wanted, BytesView line) override {
    if (!topic.empty() && (wanted.empty() || topic == wanted)) stream(chunk(line));
  }
  void stream(std::string text) {
    outgoing.push_back(std::move(text));
    if (outgoing.size() == 1) write_next();
  }
  void write_next() {
    asio::async_write(socket, asio::buffer(outgoing.front()),
                      [self = shared_from_this()](auto failed, size_t) {
                        if (failed) return self->close();
                        self->outgoing.pop_front();
                        if (!self->outgoing.empty()) self->write_next();
                      });
  }

  std::weak_ptr<FakeKubo::Node> node;
  asio::io_context& loop;
  Socket socket;
  boost::beast::flat_buffer buffer;
  std::unique_ptr<http::request_parser<http::string_body>> parser;
  std::string topic;  ///< Of a pubsub stream, as asked for.
  std::deque<std::string> outgoing;
};

}  // namespace

std::shared_ptr<Connection> open_session(const std::shared_ptr<FakeKubo::Node>& node,
                                         Socket socket) {
  auto session = std::make_shared<Session>(node, std::move(socket));
  session->read();
  return session;
}

}  // namespace ptwop::test
