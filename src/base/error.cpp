#include "base/error.h"

#include <array>

namespace ptwop {
namespace {

constexpr std::array kRows = {
    ErrorRow{Code::parse_error, "parse_error", false, 400, 1},
    ErrorRow{Code::invalid_request, "invalid_request", false, 400, 1},
    ErrorRow{Code::method_not_found, "method_not_found", false, 404, 1},
    ErrorRow{Code::invalid_params, "invalid_params", false, 400, 1},
    ErrorRow{Code::internal, "internal", false, 500, 1},
    ErrorRow{Code::shutting_down, "shutting_down", true, 503, 1},
    ErrorRow{Code::timed_out, "timed_out", true, 504, 1},
    ErrorRow{Code::starting, "starting", true, 503, 1},
    ErrorRow{Code::not_permitted, "not_permitted", false, 403, 1},
    ErrorRow{Code::overloaded, "overloaded", true, 429, 1},
    ErrorRow{Code::no_channel, "no_channel", false, 404, 1},
    ErrorRow{Code::not_found, "not_found", false, 404, 4},
    ErrorRow{Code::wrong_type, "wrong_type", false, 409, 1},
    ErrorRow{Code::exists, "exists", false, 409, 1},
    ErrorRow{Code::too_large, "too_large", false, 413, 1},
    ErrorRow{Code::overflow, "overflow", false, 409, 1},
    ErrorRow{Code::kubo_offline, "kubo_offline", true, 503, 1},
    ErrorRow{Code::kubo_refused, "kubo_refused", true, 502, 1},
    ErrorRow{Code::no_manifest, "no_manifest", true, 503, 1},
    ErrorRow{Code::not_reached, "not_reached", true, 504, 1},
    ErrorRow{Code::unreachable, "unreachable", false, 410, 1},
    ErrorRow{Code::no_read_key, "no_read_key", true, 403, 1},
    ErrorRow{Code::no_write_role, "no_write_role", true, 403, 1},
    ErrorRow{Code::not_admin, "not_admin", false, 403, 1},
    ErrorRow{Code::disk_full, "disk_full", true, 507, 1},
    ErrorRow{Code::corrupt, "corrupt", false, 500, 1},
};

}  // namespace

const ErrorRow& error_row(Code code) {
  for (const ErrorRow& row : kRows)
    if (row.code == code) return row;
  return error_row(Code::internal);
}

const ErrorRow* ErrorTable::begin() const { return kRows.data(); }
const ErrorRow* ErrorTable::end() const { return kRows.data() + kRows.size(); }

}  // namespace ptwop
