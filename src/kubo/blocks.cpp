#include "kubo/blocks.h"

#include <utility>

#include "kubo/wire.h"

namespace ptwop::kubo {
namespace {
constexpr size_t kRequestBytesMax = 4 << 20;
constexpr size_t kRequestBlocksMax = 512;
constexpr size_t kWaitingBytesMax = 64 << 20;
constexpr size_t kGetsInFlightMax = 32;
constexpr size_t kGetsWaitingMax = 100'000;
constexpr uint64_t kPutTimeoutMs = 30'000;
constexpr uint64_t kAnswerMarginMs =
    5'000;  ///< What Kubo's own time-out is given on top before we give up on it.
}  // namespace

bool BlockPuts::add(uint64_t ticket, std::vector<engine::Block> blocks) {
  size_t bytes = 0;
  for (const auto& block : blocks) {
    if (block.bytes.size() > kBlockBytesMax) return false;
    bytes += block.bytes.size();
  }
  if (waiting_bytes_ + bytes > kWaitingBytesMax) return false;
  waiting_bytes_ += bytes;
  auto job = std::make_shared<Job>(Job{ticket, blocks.size()});
  for (auto& block : blocks) waiting_.push_back({job, std::move(block)});
  if (!in_flight_) send_next();
  return true;
}

void BlockPuts::send_next() {
  Call call;
  call.path = "block/put?cid-codec=dag-cbor&mhtype=sha2-256";
  call.timeout_ms = kPutTimeoutMs;
  size_t bytes = 0;
  while (!waiting_.empty() && sent_.size() < kRequestBlocksMax) {
    Item& item = waiting_.front();
    bytes += item.block.bytes.size();
    if (!sent_.empty() && bytes > kRequestBytesMax) break;
    waiting_bytes_ -= item.block.bytes.size();
    call.parts.push_back({"data", std::move(item.block.bytes)});
    sent_.push_back({item.block.cid, {}});
    sent_jobs_.push_back(std::move(item.job));
    waiting_.pop_front();
  }
  if (sent_.empty()) return;
  call.body_bytes_max = sent_.size() * 256;
  call.done = [this](const Result<Bytes>& body) { on_answer(body); };
  in_flight_ = api_.start(std::move(call));
}

void BlockPuts::on_answer(const Result<Bytes>& body) {
  in_flight_ = 0;
  const auto checked = body ? check_stored(*body, sent_) : Result<void>(body.error());
  if (body && !checked) refused_();
  const auto jobs = std::exchange(sent_jobs_, {});
  sent_.clear();
  send_next();
  settle(jobs, checked.ok());
}

void BlockPuts::settle(const std::vector<std::shared_ptr<Job>>& jobs, bool ok) {
  for (const auto& job : jobs) {
    job->ok = job->ok && ok;
    if (--job->left == 0) told_(job->ticket, job->ok);
  }
}

void BlockPuts::fail_all() {
  if (in_flight_) api_.cancel(std::exchange(in_flight_, 0));
  auto jobs = std::exchange(sent_jobs_, {});
  sent_.clear();
  for (auto& item : std::exchange(waiting_, {})) jobs.push_back(std::move(item.job));
  waiting_bytes_ = 0;
  settle(jobs, false);
}

bool BlockGets::add(const ipld::Cid& cid) {
  if (waiting_.size() >= kGetsWaitingMax) return false;
  waiting_.push_back(cid);
  send_next();
  return true;
}

void BlockGets::send_next() {
  while (!waiting_.empty() && in_flight_.size() < kGetsInFlightMax) {
    const ipld::Cid cid = waiting_.front();
    waiting_.pop_front();
    auto id = std::make_shared<net::HttpClient::Id>(0);
    Call call;
    call.path = "block/get?arg=" + cid.text() + "&timeout=" + std::to_string(timeout_ms_) + "ms";
    call.timeout_ms = timeout_ms_ + kAnswerMarginMs;
    call.body_bytes_max = kBlockBytesMax;
    call.done = [this, id, cid](Result<Bytes> body) { on_answer(*id, cid, std::move(body)); };
    *id = api_.start(std::move(call));
    in_flight_.emplace(*id, cid);
  }
}

void BlockGets::on_answer(net::HttpClient::Id id, const ipld::Cid& cid, Result<Bytes> body) {
  in_flight_.erase(id);
  send_next();
  const bool too_large = !body && body.error().code == Code::too_large;
  if (too_large || (body && ipld::Cid::of(*body) != cid)) {
    refused_();
    body = fail(Code::kubo_refused, "Kubo gave other bytes than the block " + cid.text());
  }
  told_(cid, std::move(body));
}

void BlockGets::fail_all() {
  std::vector<ipld::Cid> cids;
  for (auto& [id, cid] : std::exchange(in_flight_, {})) {
    api_.cancel(id);
    cids.push_back(cid);
  }
  for (auto& cid : std::exchange(waiting_, {})) cids.push_back(cid);
  for (auto& cid : cids) told_(cid, fail(Code::kubo_offline, "Kubo went away"));
}

}  // namespace ptwop::kubo
