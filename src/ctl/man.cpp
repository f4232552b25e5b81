#include "ctl/man.h"

#include <fmt/format.h>

#include "ctl/arguments.h"
#include "ctl/help.h"
#include "ctl/schemas.h"
#include "ctl/text.h"
#include "ctl/values.h"

namespace ptwop::ctl {
namespace {

using rpc::Method;

constexpr std::string_view kCtlDescription =
    ".SH DESCRIPTION\n"
    "PtwopDB is a database that lives beside a Kubo (IPFS) node. \\fBptwopd\\fP(8) keeps the data "
    "and syncs it;\n"
    "\\fBptwopctl\\fP sends it one request and prints the answer. Data goes to standard output, "
    "messages to standard error.\n";

constexpr std::string_view kCtlExamples =
    ".SH EXAMPLES\n.nf\n"
    "ptwopctl channel create notes kv\n"
    "ptwopctl kv put notes greeting hello\n"
    "ptwopctl kv get notes greeting \\-\\-raw\n"
    "ptwopctl kv get notes color \\-\\-raw \\-\\-default blue\n"
    "ptwopctl kv put notes photo \\-\\-bytes @photo.jpg\n"
    "ptwopctl count add visits by=5\n"
    "ptwopctl log list journal \\-\\-all\n"
    "printf '%s\\en' 'kv put notes a 1' 'kv put notes b 2' | ptwopctl batch\n"
    "ptwopctl call kv.put '{\"channel\":\"notes\",\"key\":\"k\",\"value\":null}'\n.fi\n";

constexpr std::string_view kCtlFiles =
    ".SH ENVIRONMENT\n.TP\n.B PTWOP_SOCKET\nThe daemon's socket, unless \\fB\\-\\-socket\\fP says "
    "it.\n"
    ".TP\n.B PTWOP_DATA\nThe daemon's data folder; its rpc.sock is tried last.\n"
    ".SH FILES\nWithout \\fB\\-\\-socket\\fP and \\fBPTWOP_SOCKET\\fP the first socket that "
    "answers is used:\n"
    ".I $XDG_RUNTIME_DIR/ptwop/rpc.sock\\fR,\n.I /run/ptwop/rpc.sock\\fR,\n.I "
    "$XDG_STATE_HOME/ptwop/rpc.sock\n(by default\n"
    ".I ~/.local/state/ptwop/rpc.sock\\fR),\n.I /var/lib/ptwop/rpc.sock\\fR.\n";

constexpr std::string_view kDaemon =
    ".SH SYNOPSIS\n.B ptwopd\n[\\fB\\-\\-data\\fP \\fIDIR\\fP] [\\fB\\-\\-socket\\fP "
    "\\fIPATH\\fP]\n"
    "[\\fB\\-\\-kubo\\fP \\fIURL\\fP|\\fIMULTIADDR\\fP|\\fBnone\\fP] "
    "[\\fB\\-\\-kubo\\-auth\\-file\\fP \\fIFILE\\fP]\n"
    "[\\fB\\-\\-config\\fP \\fIFILE\\fP] [\\fB\\-\\-log\\-level\\fP \\fIL\\fP] "
    "[\\fB\\-\\-check\\-config\\fP] "
    "[\\fB\\-\\-restore\\fP \\fIFROM\\fP]\n"
    ".SH DESCRIPTION\n"
    "\\fBptwopd\\fP keeps channels (logs, counters, key\\-value maps) on this machine, syncs them "
    "with the other replicas of a "
    "channel through Kubo, and serves JSON\\-RPC 2.0 on a unix socket, one document a line. It "
    "runs in the foreground and logs to "
    "standard error. Without Kubo it serves all the same and syncs once Kubo is there.\n"
    ".PP\nEvery flag can also be given in the environment and as a line of the configuration file; "
    "a flag counts before the "
    "environment, the environment before the file.\n"
    ".SH OPTIONS\n"
    ".TP\n\\fB\\-\\-data\\fP \\fIDIR\\fP (\\fBPTWOP_DATA\\fP)\n"
    "The data folder: one identity and one daemon. A fresh one makes its key on the first start. "
    "Default:\n"
    ".I $XDG_STATE_HOME/ptwop\\fR,\n.I ~/.local/state/ptwop\\fR,\nor\n.I /var/lib/ptwop\nas a "
    "system service.\n"
    ".TP\n\\fB\\-\\-socket\\fP \\fIPATH\\fP (\\fBPTWOP_SOCKET\\fP)\n"
    "At most 107 bytes. Default:\n.I $XDG_RUNTIME_DIR/ptwop/rpc.sock\\fR,\n.I "
    "/run/ptwop/rpc.sock\nas a system service, else "
    "rpc.sock in the data folder.\n"
    ".TP\n\\fB\\-\\-kubo\\fP \\fIADDRESS\\fP (\\fBPTWOP_KUBO\\fP)\n"
    "Kubo's RPC API as a URL or a multiaddr, or \\fBnone\\fP. Default: what\n.I "
    "$IPFS_PATH/api\nor\n.I ~/.ipfs/api\nsays; it is "
    "tried again and again.\n"
    ".TP\n\\fB\\-\\-kubo\\-auth\\-file\\fP \\fIFILE\\fP (\\fBPTWOP_KUBO_AUTH_FILE\\fP)\n"
    "Holds bearer:TOKEN or basic:USER:PASSWORD, as Kubo's API.Authorizations asks for.\n"
    ".TP\n\\fB\\-\\-log\\-level\\fP \\fIL\\fP (\\fBPTWOP_LOG_LEVEL\\fP)\ndebug, info, warn or "
    "error.\n"
    ".TP\n\\fB\\-\\-config\\fP \\fIFILE\\fP (\\fBPTWOP_CONFIG\\fP)\nThe configuration file (TOML). "
    "Default:\n"
    ".I $XDG_CONFIG_HOME/ptwop/ptwopd.toml\\fR,\nelse\n.I /etc/ptwop/ptwopd.toml\\fR.\n"
    ".TP\n\\fB\\-\\-check\\-config\\fP\nSay what would apply, and exit.\n"
    ".TP\n\\fB\\-\\-restore\\fP \\fIFROM\\fP\nMake the data folder, which must be missing or "
    "empty, from the backup in the folder \\fIFROM\\fP "
    "(ptwopctl backup), and exit.\n"
    ".TP\n\\fB\\-\\-version\\fP, \\fB\\-\\-help\\fP\nPrint the version, or help, and exit.\n"
    ".SH KUBO\nSyncing needs Kubo's pubsub: ipfs config \\-\\-json Pubsub.Enabled true, then "
    "restart Kubo. With p2p streams on (ipfs config \\-\\-json "
    "Experimental.Libp2pStreamMounting true) it is faster, and does without pubsub. Kubo's API "
    "must "
    "stay local: it is an administrator's door.\n"
    ".SH SIGNALS\n.TP\n.B SIGTERM\\fR, \\fBSIGINT\nEnd cleanly, within five seconds.\n"
    ".TP\n.B SIGHUP\nRead log level and Kubo's secret again; a wrong configuration file changes "
    "nothing.\n"
    ".SH EXIT STATUS\n.TP\n0\nasked to stop\n.TP\n64\nwrong usage\n.TP\n73\ndata folder or socket "
    "in use\n.TP\n78\nwrong "
    "configuration\n.TP\n1\nanything else\n"
    ".SH PROTOCOL\nParameters by name or by position. A parameter in brackets is optional. "
    "rpc.discover answers the whole OpenRPC "
    "document.\n";

std::string header(std::string_view name, int section, std::string_view summary) {
  std::string upper(name);
  for (char& c : upper)
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  return fmt::format(".TH {} {} \"\" \"PtwopDB {}\" \"PtwopDB\"\n.SH NAME\n{} \\- {}\n", upper,
                     section, roff(PTWOP_VERSION), name, roff(summary));
}

std::string flag_items() {
  std::string out;
  for (const Flag& flag : flags()) {
    out += fmt::format(".TP\n\\fB{}\\fP", roff(flag.name));
    if (flag.takes == Takes::optional) out += fmt::format("[=\\fI{}\\fP]", roff(flag.value));
    if (flag.takes == Takes::required) out += fmt::format(" \\fI{}\\fP", roff(flag.value));
    out += '\n' + roff(flag.summary) + ".\n";
  }
  return out;
}

/// "Set a key. Answers when it is durable here."
std::string about(const Method& method) {
  std::string out = std::string(method.summary) + '.';
  if (const std::string_view more = Schemas::get().description(method.name); !more.empty())
    out += ' ' + std::string(more);
  return out;
}

std::string parameter_items(const Method& method) {
  std::string out;
  for (const rpc::Param& param : method.params)
    out += fmt::format(".br\n\\fI{}\\fP ({}, {}): {}\n", roff(param.name),
                       roff(takes(method, param)), roff(presence(param)), roff(param.summary));
  return out;
}

std::string command_items() {
  std::string out;
  for (const Extra& extra : extras()) {
    out += fmt::format(".TP\n\\fBptwopctl {}\\fP\n{}.\n", roff(extra.usage), roff(extra.summary));
    if (!extra.details.empty()) out += fmt::format(".RS\n.nf\n{}\n.fi\n.RE\n", roff(extra.details));
  }
  for (const Method& method : rpc::methods()) {
    out += fmt::format(".TP\n\\fB{}\\fP\n{}\n{}", roff(usage_of(method)), roff(about(method)),
                       parameter_items(method));
    for (const Example& example : Schemas::get().examples(method.name))
      out += fmt::format(".br\nExample:\n.nf\nptwopctl {}\n.fi\n",
                         roff(command_line(method, example.params)));
  }
  return out;
}

std::string method_items() {
  std::string out;
  for (const Method& method : rpc::methods()) {
    std::string params;
    for (const rpc::Param& param : method.params)
      params += param.required ? fmt::format(" {}", param.name) : fmt::format(" [{}]", param.name);
    out += fmt::format(".TP\n\\fB{}\\fP{}\n{}\n", roff(method.name), roff(params),
                       roff(about(method)));
  }
  return out;
}

std::string error_items() {
  std::string out = ".SH ERRORS\n";
  for (const ErrorRow& row : ErrorTable())
    out += fmt::format(
        ".TP\n{} {}\n{}\n", roff(std::to_string(static_cast<int>(row.code))), roff(row.kind),
        row.retryable ? "The same call may succeed later." : "The same call fails again.");
  return out;
}

std::string ctl_page() {
  std::string out =
      header("ptwopctl", 1, "talk to ptwopd, a database beside your Kubo (IPFS) node");
  out +=
      ".SH SYNOPSIS\n.B ptwopctl\n\\fINOUN VERB\\fP [\\fIVALUE\\fP ... | "
      "\\fINAME\\fP=\\fIVALUE\\fP ...] [\\fIFLAG\\fP ...]\n";
  out += kCtlDescription;
  for (const std::string_view rule : argument_rules()) out += ".PP\n" + roff(rule) + '\n';
  out += ".SH FLAGS\n" + flag_items() + ".SH COMMANDS\n" + command_items() + ".SH EXIT STATUS\n";
  for (const std::string_view code : exit_codes())
    out += fmt::format(".TP\n{}\n{}\n", code.substr(0, 1), roff(code.substr(3)));
  out += kCtlFiles;
  out += kCtlExamples;
  return out + ".SH SEE ALSO\n\\fBptwopd\\fP(8)\n";
}

std::string daemon_page() {
  return header("ptwopd", 8, "a database beside your Kubo (IPFS) node") + std::string(kDaemon) +
         ".SH METHODS\n" + method_items() + error_items() + ".SH SEE ALSO\n\\fBptwopctl\\fP(1)\n";
}

}  // namespace

std::string roff(std::string_view text) {
  std::string out;
  bool line_start = true;
  for (const char c : text) {
    if (line_start && (c == '.' || c == '\'')) out += "\\&";
    line_start = c == '\n';
    if (c == '\\')
      out += "\\e";
    else if (c == '-')
      out += "\\-";
    else if (c == '\'')
      out += "\\(aq";
    else if (c == '`')
      out += "\\(ga";
    else
      out += c;
  }
  return out;
}

std::optional<std::string> man_page(std::string_view name) {
  if (name == "ptwopctl") return ctl_page();
  if (name == "ptwopd") return daemon_page();
  return std::nullopt;
}

}  // namespace ptwop::ctl
