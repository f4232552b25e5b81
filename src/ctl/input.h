// What `@file` and `-` stand for.
#pragma once
#include <string>

#include "base/result.h"

namespace ptwop::ctl {

/// Reads whole files and standard input, bounded by what one request may hold. Errors are for the
/// person who typed.
class Input {
 public:
  virtual ~Input() = default;
  virtual Result<std::string> file(const std::string& path) = 0;
  /// Once: a second `-` is an error.
  virtual Result<std::string> standard_input() = 0;
};

class SystemInput final : public Input {
 public:
  Result<std::string> file(const std::string& path) override;
  Result<std::string> standard_input() override;

 private:
  bool used_ = false;
};

/// For the lines of a batch, where standard input holds the lines.
class BatchInput final : public Input {
 public:
  Result<std::string> file(const std::string& path) override { return files_.file(path); }
  Result<std::string> standard_input() override;

 private:
  SystemInput files_;
};

}  // namespace ptwop::ctl
