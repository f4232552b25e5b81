// Cuts what comes in into lines, and refuses lines that are too long or too deep while they still
// come in.
#pragma once
#include <cstddef>
#include <string_view>

namespace ptwop::rpc {

/// Counts how deep brackets are nested, over text that comes in pieces. Brackets in strings do not
/// count.
class DepthScan {
 public:
  /// False when the text so far is nested deeper than `limits::kRequestDepthMax`.
  bool feed(std::string_view piece);

 private:
  size_t depth_ = 0;
  bool in_string_ = false, escaped_ = false;
};

/// Of one connection.
class Framing {
 public:
  enum class Found { line, nothing, too_long, too_deep };
  struct Result {
    Found found;
    std::string_view line;  ///< Without its newline. Blank lines are left out.
    size_t consumed = 0;    ///< Bytes of the input that are done with, also when nothing was found.
  };

  /// Looks at all that is there and not consumed yet. `ended`: nothing follows, so that the last
  /// line needs no newline.
  Result next(std::string_view input, bool ended);

 private:
  DepthScan scan_;
  size_t scanned_ = 0;  ///< Bytes of the unfinished line that were scanned already.
};

}  // namespace ptwop::rpc
