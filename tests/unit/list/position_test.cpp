#include "list/position.h"

#include <doctest/doctest.h>

using namespace ptwop;
using list::At;

TEST_CASE("a token names list, number and tag, in one form") {
  At at;
  at.list.raw.fill(0xab);
  at.position = {300, 0x0102030405060708};
  const std::string token = at.token();
  CHECK(token == "q6urq6urq6urq6urq6urq6wCAQIDBAUGBwg");
  CHECK(At::from_token(token) == at);
  at.position = {};
  CHECK(At::from_token(at.token()) == at);

  const Bytes list(list::ListId::kSize, 'x'), tag(8, 't');
  CHECK(At::from_token(base64url(list + '\1' + tag)));
  for (const Bytes& bytes :
       {Bytes(), list, list + '\1', list + '\1' + tag + 'x', list + '\1' + tag.substr(1),
        list + "\x81" + '\0' + tag, list.substr(1) + '\1' + tag})
    CHECK_FALSE(At::from_token(base64url(bytes)));
  for (const std::string& text : {token + "=", token + " ", "!" + token.substr(1), token + "\n"})
    CHECK_FALSE(At::from_token(text));
}
