// Every limit that is part of a format or of the RPC contract, in one place. Units last in names.
#pragma once
#include <cstddef>
#include <cstdint>

namespace ptwop::limits {

// The socket (rpc.md)
inline constexpr size_t kRequestBytesMax = 4 << 20;
inline constexpr size_t kRequestDepthMax = 64;
inline constexpr size_t kBatchRequestsMax = 100;
inline constexpr size_t kInFlightMax = 64;
inline constexpr size_t kUnreadReplyBytesMax = 1 << 20;
inline constexpr size_t kUnreadTotalBytesMax =
    64 << 20;  ///< On all connections; beyond it each gets one answer at a time.
inline constexpr size_t kPageDefault = 100;
inline constexpr size_t kPageMax = 1000;
inline constexpr size_t kPageBytesMax =
    1 << 20;  ///< Values in one page; it ends early, but has at least one.
inline constexpr size_t kNameBytesMax = 64;
inline constexpr size_t kKeyBytesMax = 1024;
inline constexpr size_t kRequestIdBytesMax = 64;
inline constexpr uint64_t kRequestKeptMs = 24ull * 3600 * 1000;

// Values and nodes (formats.md)
inline constexpr size_t kValueBytesMax = 900 << 10;
inline constexpr size_t kBatchBytesMax = 940 << 10;
inline constexpr size_t kBodyBytesMax = 960 << 10;
inline constexpr size_t kBodyPlainBytesMax = 8 << 20;
inline constexpr size_t kNodeOpsMax = 1 << 18;
inline constexpr size_t kInlineNodeBytesMax = 64 << 10;
inline constexpr size_t kSeenMax = 64;
inline constexpr uint64_t kNumberMax = uint64_t{1}
                                       << 53;  ///< Of a node; what readers of JSON can hold.
inline constexpr size_t kIpldDepthMax = 128;
inline constexpr uint64_t kFutureMs = 5 * 60 * 1000;   ///< A node further ahead waits.
inline constexpr uint64_t kOwnLeadMs = 4 * 60 * 1000;  ///< Own stamps follow others this far ahead.
inline constexpr uint64_t kSeenWaitMs =
    10 * 1000;  ///< A node waits this long for what it had seen.

// Messages (pubsub silently drops 1 MiB and more)
inline constexpr size_t kMessageBytesMax = 768 << 10;

}  // namespace ptwop::limits
