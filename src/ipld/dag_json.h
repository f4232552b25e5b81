// Values as rpc.md shows them: DAG-JSON outside, strict DAG-CBOR inside.
#pragma once
#include "base/bytes.h"
#include "base/json.h"
#include "base/result.h"

namespace ptwop::ipld {

/// JSON → DAG-CBOR. `{"/":{"bytes":"…"}}` is bytes, `{"/":"<cid>"}` a link; any other object with
/// the name `/`, and any number out of range, is invalid_params. Map keys are sorted canonically.
Result<Bytes> cbor_from_json(const json::Value& value);

/// DAG-CBOR → compact DAG-JSON, appended to `out`; floats keep a fraction or exponent (`1.0`); map
/// keys in the stored order. Fails with `corrupt` (and appends nothing) when the input is not one
/// strict item. A map with the name `/` cannot come from our RPC either and is shown as it is.
/// Integers from 2^63 to 2^64−1 and below −2^63 cannot come from our RPC but may stand in foreign
/// data: shown as digits.
Result<void> append_json_from_cbor(std::string& out, BytesView cbor);

}  // namespace ptwop::ipld
