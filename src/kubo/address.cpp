#include "kubo/address.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <charconv>
#include <cstdlib>
#include <vector>

#include "base/bytes.h"

namespace ptwop::kubo {
namespace {

constexpr size_t kFileBytesMax = 4096;

Error unreadable_address(std::string_view text) {
  return fail(Code::invalid_params,
              "not an address of Kubo's API: \"" + std::string(text.substr(0, 100)) +
                  "\" (use http://127.0.0.1:5001, /ip4/127.0.0.1/tcp/5001 or /unix/<path>)");
}

bool valid_port(std::string_view text) {
  unsigned port = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc() && end == text.data() + text.size() && port > 0 && port < 65536;
}

// Letters, digits, dots, dashes (and colons inside brackets): nothing that could end the host part
// of a URL.
bool valid_host(std::string_view host, bool ip6) {
  if (host.empty() || host.size() > 253) return false;
  for (const char c : host) {
    const bool word =
        (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.';
    if (!word && !(ip6 ? c == ':' : c == '-' || c == '_')) return false;
  }
  return true;
}

std::vector<std::string_view> split(std::string_view text) {
  std::vector<std::string_view> words;
  while (true) {
    const size_t slash = text.find('/');
    words.push_back(text.substr(0, slash));
    if (slash == std::string_view::npos) return words;
    text.remove_prefix(slash + 1);
  }
}

Result<ApiAddress> parse_url(std::string_view text) {
  std::string_view rest = text.substr(std::string_view("http://").size());
  if (rest.ends_with('/')) rest.remove_suffix(1);
  const bool ip6 = rest.starts_with('[');
  const size_t host_end = ip6 ? rest.find(']') : rest.find(':');
  std::string_view host =
      rest.substr(ip6 ? 1 : 0, host_end == std::string_view::npos ? host_end : host_end - ip6);
  std::string_view port = host_end == std::string_view::npos ? "" : rest.substr(host_end + ip6);
  if (ip6 && host_end == std::string_view::npos) return unreadable_address(text);
  if (port.empty()) {
    port = ":80";
  }
  if (port.front() != ':' || !valid_port(port.substr(1)) || !valid_host(host, ip6))
    return unreadable_address(text);
  const std::string name = ip6 ? "[" + std::string(host) + "]" : std::string(host);
  return ApiAddress{"http://" + name + std::string(port), "", std::string(text)};
}

Result<ApiAddress> parse_multiaddr(std::string_view text) {
  std::string_view rest = text;
  if (rest.ends_with("/http")) rest.remove_suffix(5);
  constexpr std::string_view kUnix = "/unix/";
  if (rest.starts_with(kUnix)) {
    // `/unix//run/api` and `/unix/run/api` both mean /run/api.
    std::string path(rest.substr(kUnix.size() - 1));
    if (path.starts_with("//")) path.erase(0, 1);
    if (path.size() < 2 || path.size() > 107) return unreadable_address(text);
    return ApiAddress{"http://localhost", std::move(path), std::string(text)};
  }
  const auto words = split(rest);
  if (words.size() != 5 || words[3] != "tcp" || !valid_port(words[4]))
    return unreadable_address(text);
  const bool ip6 = words[1] == "ip6";
  const bool known =
      ip6 || words[1] == "ip4" || words[1] == "dns" || words[1] == "dns4" || words[1] == "dns6";
  if (!known || !valid_host(words[2], ip6)) return unreadable_address(text);
  std::string host(words[2]);
  // What a Kubo that listens everywhere writes down; one connects to the machine itself.
  if (ip6 && host == "::") host = "::1";
  if (words[1] == "ip4" && host == "0.0.0.0") host = "127.0.0.1";
  if (ip6) host = "[" + host + "]";
  return ApiAddress{"http://" + host + ":" + std::string(words[4]), "", std::string(text)};
}

struct File {
  std::string text;
  struct stat info = {};
};

Result<File> read_small_file(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return fail(Code::not_found, "cannot read " + path);
  File file;
  file.text.resize(kFileBytesMax);
  const bool regular = ::fstat(fd, &file.info) == 0 && S_ISREG(file.info.st_mode);
  const ssize_t size = regular ? ::read(fd, file.text.data(), file.text.size()) : -1;
  ::close(fd);
  if (size < 0) return fail(Code::not_found, "cannot read " + path);
  if (size == static_cast<ssize_t>(kFileBytesMax))
    return fail(Code::invalid_params, path + " is too large");
  file.text.resize(static_cast<size_t>(size));
  while (!file.text.empty() &&
         std::string_view(" \t\r\n").find(file.text.back()) != std::string_view::npos) {
    file.text.pop_back();
  }
  return file;
}

std::string base64_padded(std::string_view text) {
  std::string out = base64(text);
  while (out.size() % 4) out += '=';
  return out;
}

}  // namespace

Result<ApiAddress> parse_api_address(std::string_view text) {
  for (const char c : text) {
    if (c <= ' ' || c == 0x7f)
      return unreadable_address("(it holds white space or control characters)");
  }
  if (text.starts_with("http://")) return parse_url(text);
  if (text.starts_with('/')) return parse_multiaddr(text);
  return unreadable_address(text);
}

Result<ApiAddress> discover_api_address() {
  const char* repo = std::getenv("IPFS_PATH");
  const char* home = std::getenv("HOME");
  std::string path;
  if (repo && *repo) {
    path = std::string(repo) + "/api";
  } else if (home && *home) {
    path = std::string(home) + "/.ipfs/api";
  } else {
    return fail(Code::kubo_offline, "no Kubo found: neither IPFS_PATH nor HOME is set");
  }
  auto file = read_small_file(path);
  if (!file)
    return fail(Code::kubo_offline,
                "no running Kubo found: there is no " + path + " (start `ipfs daemon`)");
  return parse_api_address(file->text);
}

Result<std::string> read_authorization(const std::string& path) {
  PTWOP_TRY(const File file, read_small_file(path));
  if (file.info.st_mode & (S_IRWXG | S_IRWXO)) {
    return fail(Code::not_permitted, path + " can be read by others: run `chmod 600 " + path + "`");
  }
  if (file.info.st_uid != ::geteuid() && file.info.st_uid != 0) {
    return fail(Code::not_permitted, path + " belongs to somebody else");
  }
  for (const char c : file.text) {
    if (c < ' ' || c == 0x7f)
      return fail(Code::invalid_params, path + " must hold one line of plain characters");
  }
  constexpr std::string_view kBearer = "bearer:";
  constexpr std::string_view kBasic = "basic:";
  const std::string_view text = file.text;
  if (text.starts_with(kBearer) && text.size() > kBearer.size()) {
    return "Bearer " + std::string(text.substr(kBearer.size()));
  }
  if (text.starts_with(kBasic) && text.find(':', kBasic.size()) != std::string_view::npos) {
    return "Basic " + base64_padded(text.substr(kBasic.size()));
  }
  return fail(Code::invalid_params, path + " must hold bearer:TOKEN or basic:USER:PASSWORD");
}

}  // namespace ptwop::kubo
