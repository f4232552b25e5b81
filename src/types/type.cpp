#include "types/type.h"

#include "types/count.h"
#include "types/kv.h"
#include "types/log.h"

namespace ptwop::types {

std::vector<const Type*> all_types() { return {&log_type(), &count_type(), &kv_type()}; }

const Type* find_type(std::string_view name) {
  for (const Type* type : all_types())
    if (type->name() == name) return type;
  return nullptr;
}

}  // namespace ptwop::types
