"""Every default bound, each with its reason. What exceeds a bound is refused, with a reason."""

# -- bindings ---------------------------------------------------------------------------------

# The SDK's "about one minute": a listener that accepted nothing closes (semantics 1.3, flag 2).
ACCEPT_TIMEOUT_SECONDS = 60.0

# UDP has no end, only silence. RFC 4787 section 4.3 lets a NAT forget a mapping after two minutes
# at the earliest. A binding belongs to a dialogue, whose filter asks for the limit by TIMEOUT, so
# the SDK's minute is enough for it.
UDP_IDLE_SECONDS = 60.0

# A binding that may be silent for so long is looked at four times a second, for some 10 us each.
MIN_IDLE_SECONDS = 1

# The SDK's FWX_INCREASE_RECEIVE_BUFFER is 64 KB "against bursts" (semantics 1.3, flag 9), eight
# times what its system gave. Linux gives 208 KiB, so 64 KB changed nothing; 1 MiB holds five times
# the burst, where the gateway may set it.
INCREASED_RECEIVE_BUFFER = 1024 * 1024

# The longest queue `listen` grants by default (net.core.somaxconn): 4096 since Linux 5.4.
MAX_BACKLOG = 4096

# Connections that may wait at a port that takes many, whatever the caller says. With a queue of 1
# 91 of 100 peers at once believed themselves connected for ever, because Linux forgets the last
# packet of a handshake for which the queue has no room. 128 was SOMAXCONN until Linux 5.4.
MIN_BACKLOG_FOR_MANY = 128

# A client that holds more has a fault or is flooding (attack F23); a rule may set another number.
MAX_BINDINGS_PER_CLIENT = 64

# RFC 8981: an IPv6 host makes itself addresses, and a link is a /64 (RFC 4291 section 2.5.4). What
# one address may have, its whole /64 may: 20 addresses must not have 20 quotas.
IPV6_HOST_PREFIX = 64

# Ports and permissions of all clients together: the design figure is 60 000, and the sets of the
# kernel hold 131 072.
MAX_BINDINGS = 65_536

# RFC 2577 section 3: services listen on ports below 1024; a data connection never goes there.
MIN_CLIENT_PORT = 1024

# One call asks for consecutive ports; RTP asks for 2, RTSP with many tracks for 16. 64 is roomy.
MAX_ADDRESSES_PER_CALL = 64

# A port rests this long after its last connection: the peer may still hold the old pair of
# endpoints in TIME_WAIT (60 s on Linux), and RFC 9293 allows two maximum segment lives (120 s).
PORT_REST_SECONDS = 120.0

# How many ports are drawn when local programs hold the ones drawn before. A host whose programs
# occupy most of our range is misconfigured, and a loop over 20 000 sockets would stop the daemon
# (attack C04).
MAX_PORT_TRIES = 32

# -- control connections ------------------------------------------------------------------------

# RFC 959 sets no limit. Linux has paths of 4096 bytes (PATH_MAX), the longest verb in use eight;
# a longer line is answered with 500 and discarded, however long it gets (attack F17).
MAX_FTP_LINE = 4096 + 32

# Replies carry human text and paths: some servers send banners of a kilobyte a line. A longer line
# passes in parts and is never read as a reply (attack V11).
MAX_FTP_REPLY_LINE = 4096 + 32

# Lines without a code before the greeting. Appliances send a banner; a server of another protocol
# goes on like this for ever (attack V12).
MAX_FTP_BANNER_LINES = 256

# Commands sent ahead of their replies: what is kept of each takes about 150 bytes. Commands of the
# same verb in a row count as one. A client that is further ahead is not read meanwhile. A reply may
# cost a look at each of them: with four times as many, a block of replies to a client by a server
# that mean it took a turn of a fifth of a second.
MAX_FTP_PIPELINE = 1024

# Bytes held for one client: lines that wait for the answer to PASV, or replies that wait for a
# verdict. A thousand commands, or a listing on the control connection. Who has sent more waits.
MAX_HELD_BYTES = 128 * 1024

# How long a line waits for an answer that the server owes: five minutes is the shortest idle limit
# that RFC 1123 section 4.1.3.2 allows a server. Then the answer is given up.
FTP_REPLY_SECONDS = 300.0

# How long a line waits for an answer that the server does not seem to owe: it has sent fewer
# replies than it got commands, and is silent. Several round trips to the far end of the world.
FTP_SILENCE_SECONDS = 2.0

# How long the data connection of a requested transfer may take to come: servers fetch files from
# tape, or wait for a data set that another program holds (z/OS: DSWAITTIME), for many minutes.
TRANSFER_START_SECONDS = 3600.0

# RFC 1123 section 4.1.3.2: the server-side idle time is at least five minutes. A transfer of hours
# leaves the control connection idle, so our limit only collects connections that are dead.
CONTROL_IDLE_SECONDS = 24 * 3600.0

# Lines of a declarative filter when its file does not say: the longest of IRC, RFC 2812, twice.
# A pattern may take time that grows with the square or the cube of it.
DECLARED_LINE = 1024

# What a file may ask for: RTSP and SIP header lines with long URLs stay below this.
MAX_DECLARED_LINE = 8192

# A line that was begun must end soon; no user types FTP by hand through a gateway (attack F17).
PARTIAL_LINE_SECONDS = 60.0

# A filter may wait for a transaction of the kernel only: milliseconds, a second under the worst
# load. A filter that waits longer waits for something that will not come (attack X07).
FILTER_WAIT_SECONDS = 30.0

# Importing packages and reading a database take seconds. The gateway does nothing else meanwhile,
# and the operator who reloads it waits CONTROL_REQUEST_SECONDS for the answer.
FILTER_LOAD_SECONDS = 5.0

# One connection causes one fault; after five the filter is not fit for this client's traffic. After
# faults with five clients it is switched off for all; one client alone cannot do that.
MAX_FILTER_FAULTS = 5

# Of the traceback of a filter's fault: some fifty calls, and one record of the log.
MAX_TRACEBACK_CHARACTERS = 8192

# Bytes that the data filters of one flow have sent each other and that are still queued: a segment
# that the sockets return at once (512 KiB), grown eight-fold by a filter that encodes or unpacks
# it. More is a flood.
MAX_CHAIN_BYTES = 4 * 1024 * 1024

# Bytes that the data filters of one flow have sent to a socket whose reader is slow: as much, for
# the same reason. While bytes are queued for one end, the other is not read: only a filter that
# makes bytes itself reaches this bound.
MAX_QUEUED_BYTES = MAX_CHAIN_BYTES

# How long a dialled server may take to answer before the client gets an error. Linux gives up
# after 127 s, people after 30.
CONNECT_TIMEOUT_SECONDS = 30.0

# How long bytes that are queued when a filtered connection closes have to leave. A slower reader
# has had its chance, and its socket must not outlive the conversation for long.
CLOSE_FLUSH_SECONDS = 10.0

# Control connections one client may hold at once (TMG: 160 concurrent connections per address).
MAX_CONTROLS_PER_CLIENT = 512

# Control connections of all clients together, and the part of them that one client may hold where
# descriptors are few: of 1024 one client had them all within its quota. Each costs two
# descriptors and up to 25 KiB.
MAX_CONTROLS = 20_000
CONTROLS_PART_OF_A_CLIENT = 4

# The part of the descriptors that control connections leave to transfers, held ports, the log and
# the operator: a gateway that has none left can neither be asked nor be stopped in order.
DESCRIPTORS_KEPT_BACK = 4

# What one client that has more new connections, or first datagrams, waiting leaves to others, in
# times of what the last one took (0.2 ms, and as much again until it is over): a flood of them gets
# a fifth of the time at most. A NAT with 500 machines that boot at once waits for a second.
REST_OF_ONE_CLIENT = 8.0

# What is counted of a turn at most: ten times what eight take. In one that was longer the process
# stood still, with its host or for want of a processor, and those that wait are not to blame.
LONGEST_TURN_SECONDS = 0.05

# What a bind that was refused, or that no peer has used, costs the client that asked for it: the
# same times the 0.5 ms that it takes with its command, its answer and its end. So a client that
# does nothing but bind has 250 a second while there are others.
DELAY_FOR_A_BIND_IN_VAIN = REST_OF_ONE_CLIENT * 0.0005

# One that was open for longer costs its client nothing: how many of those there are is bounded by
# what a client may hold, and a telephone asks for a second port with each call that has no use.
IN_VAIN_SECONDS = 1.0

# So much of it is forgiven, and again once that time has passed without: a dozen binds in vain, as
# of files that a server turns out not to have.
DELAY_FORGIVEN = 0.05

# No client waits longer at once, whatever it is told to: who binds in vain without a turn of its
# own, by datagrams or alone on the host, must not find itself shut out of the next minutes.
LONGEST_DELAY = 1.0

# Private sessions for one client at once: one for each transfer that a peer outside may start. As
# many as the bindings a client has by default, which those sessions share.
MAX_PRIVATE_SESSIONS = MAX_BINDINGS_PER_CLIENT

# A session that a filter asked for and that is still empty ends after this long: a filter asks when
# it is about to bind a port, so the SDK's "about one minute" is plenty.
UNUSED_SESSION_SECONDS = 60.0

# -- intercepted datagrams ------------------------------------------------------------------------

# RFC 2347 sets 512; boot ROMs with many vendor options send more, but never more than one frame.
MAX_TFTP_REQUEST = 1472

# Datagrams of a client that are kept until the event of the server's answer arrives, a millisecond
# or so: one acknowledgement, or a small window of a write (RFC 7440). The client repeats the rest.
MAX_TFTP_EARLY = 8

# The byte counts of a transfer are read this often (seconds); of one that moves, every third time.
# When they have not changed nine times in a row, one that is complete is over: what was lost last
# is repeated after 5 s at the latest. One that is not is given up much later: tftpd-hpa repeats
# itself after 1, 2, 4 ... 32 s, and a client that writes its flash says nothing meanwhile. With the
# `timeout` of RFC 2349 it is later still, but the kernel forgets after UDP_IDLE_SECONDS. What is
# complete, or silent for a look, gives its place to the client's next request before that, where
# there is no other. Counters say which one is complete, but not where several blocks are
# acknowledged together (RFC 7440): 64 places are then enough for two thousand small files a minute.
TFTP_LOOK_SECONDS = 1.0
TFTP_SILENT_LOOKS = 9
TFTP_STALLED_LOOKS = 36

# How many of a client's transfers are looked at for one that is over, the oldest first: each costs
# a question to the kernel, and a client that floods must not make hundreds.
MAX_TFTP_LOOKS_FOR_ROOM = 8

# Of the first datagram of a flow so many bytes are kept: RFC 2347 has no more in an answer than in
# a request, which is 512.
MAX_FIRST_DATAGRAM = 512

# Copies of first datagrams whose flow has not been reported yet: 512 KiB. What is beyond is lost,
# and of those flows it is not known.
MAX_FIRST_DATAGRAMS = 1024

# RFC 4787 REQ-5: state for UDP is kept for two minutes. A conversation in which the client sent
# no datagram for so long is over; a binding that was made for it and is in use goes on by itself.
DATAGRAM_IDLE_SECONDS = 120.0

# How long a filter may keep such a conversation without a datagram: a registration of SIP lasts an
# hour, a call a day at most. What is kept holds a socket.
MAX_KEPT_SECONDS = 24 * 3600.0

# Datagrams of one conversation that wait while its filter waits for the kernel, a millisecond or
# so: a burst of short messages, or one that is as long as a datagram can be.
MAX_WAITING_DATAGRAMS = 16
MAX_WAITING_DATAGRAM_BYTES = 64 * 1024

# Conversations at once, of all clients together. Sources of datagrams can be spoofed, so a bound
# for each client would not help; this many take a fifth of the default port range at most (attack
# T04).
MAX_DATAGRAM_CONVERSATIONS = 4096

# The part of them for clients outside, of published servers: who forges their sources must not take
# what clients inside need.
MAX_PUBLISHED_CONVERSATIONS = MAX_DATAGRAM_CONVERSATIONS // 2

# Datagrams read in one round of the event loop, so that a flood of them does not stop all else.
MAX_DATAGRAMS_PER_TURN = 64

# Clients that are served a first datagram, or a new connection, each in one round: about as long as
# one round of sockets.
MAX_SERVED_PER_TURN = 8

# Datagrams of one client that wait for their turn: what is served in some tenths of a second.
# A NAT may be the client, with many hosts behind it that boot at once. And the bytes of all that
# wait, of all clients: each counts with what it costs beside its words (1.7 KB measured), for who
# forges a source for each may send thousands that are empty.
MAX_QUEUED_DATAGRAMS = 256
MAX_QUEUED_DATAGRAM_BYTES = 8 * 1024 * 1024
QUEUED_DATAGRAM_COST = 2048

# RFC 768: the length field has 16 bits. A buffer of this size truncates nothing.
MAX_DATAGRAM_BYTES = 65535

# Control connections one outside client of a published server may hold: one flooder must not use up
# the server's own limit. Parallel downloaders open about ten, and a NAT may hide several of them.
MAX_CONTROLS_PER_PEER = 64

# -- IRC ------------------------------------------------------------------------------------------

# Open offers and running transfers of one client by DCC; the ninth is refused (attack I08).
MAX_DCC_CHANNELS = 8

# Nicknames whose address is remembered for one connection, the latest seen: a person offers files
# to whom they have just spoken with. 1024 take about 200 KiB.
MAX_IRC_NICKNAMES = 1024

# -- RTSP and SIP --------------------------------------------------------------------------------

# Start line and headers of one message. Digests, long URLs and a dozen hops stay below 4 KiB; what
# is longer is no dialogue, and each connection may hold one such head in memory.
MAX_RTSP_HEAD = 16 * 1024
MAX_SIP_HEAD = 16 * 1024

# What one RTSP connection may keep: sessions, streams set up in one, requests without an answer.
# A client plays one film at a time, a recorder of cameras one a connection; each has two streams.
MAX_RTSP_SESSIONS = 32
MAX_RTSP_SETUPS = 16
MAX_RTSP_PIPELINE = 32

# Ways of sending that one SETUP may offer over UDP; each takes two ports until the answer.
MAX_RTSP_TRANSPORTS = 4

# A server answers SETUP within a round trip, or fetches the stream from a camera first. What is not
# answered by then has its ports given back.
RTSP_ANSWER_SECONDS = 30.0

# RFC 2326 section 12.37: a session times out after 60 seconds unless the server says otherwise.
# Servers say up to five minutes; what says a day would keep its ports as long after a crash.
RTSP_TIMEOUT_SECONDS = 60
MAX_RTSP_TIMEOUT_SECONDS = 300.0

# How often unanswered requests and silent sessions are looked for (seconds).
RTSP_LOOK_SECONDS = 5.0

# Headers of one message; a SIP request through many proxies has about sixty.
MAX_RTSP_HEADERS = 64
MAX_SIP_HEADERS = 128

# RFC 3261 section 18.1.1: the longest SIP message is the longest datagram, 65 535 bytes.
MAX_SIP_BODY = 64 * 1024

# RFC 3261 section 20.22: Max-Forwards is 70 at first. Paths in use have fewer than ten hops.
MAX_SIP_VIAS = 32

# What a telephone and one host outside may keep: calls at once, requests whose answers count, and
# its own Contacts. The telephone may be the PBX of a call centre, or many telephones at one
# address. The quota of ports is met before, where no rule raises it.
MAX_SIP_CALLS = 1024
MAX_SIP_TRANSACTIONS = 1024
MAX_SIP_CONTACTS = 16

# Names of a telephone that were changed: the Contact of each extension of a PBX; and what it has
# registered by one way, trunks and watched lines. The shortest registration gives way.
MAX_SIP_NAMES = 256
MAX_SIP_REGISTRATIONS = 64

# What of these requests is kept, for the media that they name: hundreds of usual length, or eight
# that are as long as a datagram. A host that forges its address costs no more.
MAX_SIP_TRANSACTION_BYTES = 512 * 1024

# Branches of a forked call whose media is heard before one of them answers. A ring group of an
# office; each may name another host, and up to 64 hosts a port are listed one by one.
MAX_SIP_BRANCHES = 16

# RFC 3261 section 17.1.1.2: after 64 times T1, 32 seconds, no answer comes any more.
SIP_ANSWER_SECONDS = 32.0

# A call whose BYE was lost: its media is silent and nothing is said of it for this long. On hold a
# session timer (RFC 4028: at least 90 seconds) or music says that it lives.
SIP_DEAD_CALL_SECONDS = 300.0

# How often requests, registrations and calls are looked at (seconds): twice within 32.
SIP_LOOK_SECONDS = 16.0

# `m=` lines of one description: audio, video, fax, text and spares. Each wanted one takes two ports
# (attack P08).
MAX_SDP_MEDIA = 16

# -- the local API --------------------------------------------------------------------------------

# Processes of the host itself that its operator lets in: orchestration and some servers.
MAX_API_CONNECTIONS = 256

# Of one user's processes: one user alone does not keep the others out.
MAX_API_CONNECTIONS_OF_ONE = MAX_API_CONNECTIONS // 2

# Events that wait for a process that does not read them; 1 MiB is some five thousand.
MAX_API_BACKLOG_BYTES = 1024 * 1024

# -- SOCKS ----------------------------------------------------------------------------------------

# From the first byte to the last of a request: a person types nothing of it, a password takes us 50
# ms, and a round trip to far away half a second.
SOCKS_HANDSHAKE_SECONDS = 20.0

# Connections of one host that have not said yet what they want: a browser opens some dozens at
# once. Each takes a descriptor and a few KiB.
MAX_SOCKS_HANDSHAKES = 128

# glibc asks two servers twice, five seconds each (resolv.conf(5)); clients give up earlier.
NAME_LOOKUP_SECONDS = 10.0

# -- the user-mode data path ----------------------------------------------------------------------

# Flows of one ALLOW_MULTIPLE pinhole at once in user mode, where its rule says nothing else. Each
# costs a descriptor (UDP) or two (TCP), and the source of a datagram can be spoofed: one pinhole
# may not take all of the 20 000 or so a process has. A conference of 256 is a large one.
MAX_RELAYED_FLOWS = 256

# Answers of the policy that are cached: a client meets a server again with every transfer. Each
# takes about 250 bytes, all of them 1 MiB. A full cache is emptied, so a client that scans the
# network only makes the policy decide again.
MAX_KEPT_VERDICTS = 4096

# Buckets of rates looked at for each one used: a full one is forgotten. One more than is added, so
# that a flood from many addresses leaves nothing behind a minute later.
RATES_SWEPT = 2

# -- operation ------------------------------------------------------------------------------------

# A configuration of thousands of rules has 1 MiB; a bigger file is no configuration.
MAX_CONFIGURATION_BYTES = 1024 * 1024

# Masquerading shares these ports among all ordinary connections towards one server; Debian's own
# range has 28 232. Below 1024 a small office is already short of them.
MIN_MASQUERADE_PORTS = 1024

# The head of a request to the admin API: a path and an id, and what browsers add to every request,
# a kilobyte or two. 16 KiB is what h11 itself and most servers allow.
MAX_CONTROL_REQUEST_BYTES = 16 * 1024

# Combinations of event, protocol and reason that are counted each for itself: ten protocols with
# fifty reasons. What comes after them is counted as "other", so that no input makes metrics grow.
MAX_TALLIED = 512

# A token over TCP: 16 characters of hexadecimal are 64 bits, which no one guesses at the rate at
# which loopback connections can be made.
MIN_TOKEN_BYTES = 16

# Connections to the admin API at once: some operators, dashboards and pages with two streams each.
# An answer that is not taken yet may hold 25 MB.
MAX_CONTROL_CONNECTIONS = 64

# Connections whose askers were told no and have not hung up, and how many seconds they get to read
# it. More are closed before they have read it: strangers must not use our descriptors up.
MAX_CONTROL_REFUSALS = 16
CONTROL_REFUSAL_SECONDS = 1.0

# Documents that wait for the reader of a stream: some seconds of a busy gateway, about 2 MiB. A
# reader that is slower has lost some, and is told how many.
MAX_STREAM_ITEMS = 8192

# The same between a worker and its supervisor, in bytes: as much as waits for one reader.
MAX_STREAM_BACKLOG_BYTES = 2 * 1024 * 1024

# A stream without news says so this often: a reader gives up after CONTROL_REQUEST_SECONDS without
# a byte, and one that has vanished is noticed.
STREAM_SIGN_OF_LIFE_SECONDS = 5.0

# The daemon spends at most this long on one request, so that a stopped `sallyport | less` does not
# hold it up.
CONTROL_REQUEST_SECONDS = 10.0

# -- processes ------------------------------------------------------------------------------------

# Each further pins table costs every new flow 0.55 us; beyond eight that is poor value.
MAX_WORKERS = 8

# A node of a pair has half of the 16 series of numbers, and new workers (SIGUSR2, a takeover) need
# as many again while the old ones finish.
MAX_WORKERS_OF_NODE = 4

# A worker's share of the port range must have room for two runs of MAX_ADDRESSES_PER_CALL.
MIN_WORKER_PORTS = 2 * MAX_ADDRESSES_PER_CALL

# A worker's event loop says once a second that it turns: five in a row must be missing.
HEARTBEAT_SECONDS = 1.0

# A turn takes milliseconds. The watchdog cuts a loop in a filter after one to two seconds; what it
# cannot cut is over after five, which is also the longest that other clients of the worker wait.
WORKER_SILENCE_SECONDS = 5.0

# Importing, reading the configuration and nft take half a second; a busy machine takes longer, and
# filters may take their time to start.
WORKER_START_SECONDS = 30.0

# Between the end of a worker and the next: at once after an accident, rarer when it keeps ending,
# so that a filter that cannot live costs no processor. Who connects meanwhile waits in the queue.
WORKER_RESTART_DELAYS = (0.0, 0.2, 1.0, 5.0)

# One that has served this long did not fail for the reason the last one did.
WORKER_PROBATION_SECONDS = 60.0

# Address space of one worker. 60 000 live bindings and 5 000 sessions take 250 MiB; what asks for
# eight times that is a fault in a filter, and ends that filter's connection by MemoryError.
MAX_WORKER_MEMORY_BYTES = 2 * 1024 * 1024 * 1024

# How long workers that have handed their clients over keep their sessions: a working session and
# its last transfer; two generations at once take the memory of both.
OUTGOING_SECONDS = 3600.0

# How long changes of pinholes wait for another process that makes a table: nft takes 15 to 50 ms,
# more on a busy machine; a bind that comes meanwhile is so much later.
QUIET_SECONDS = 1.0

# When transfers are looked for again after an address has come: keepalived moves the address first,
# and then lets conntrackd commit what the other node told it.
ADOPT_AGAIN_SECONDS = 3.0

# When addresses are followed again after that has failed: a worker that was being replaced serves
# by then, and an operator who waits for an address looks no sooner.
FOLLOW_AGAIN_SECONDS = 5.0

# How often a worker that runs dry looks whether something still runs: an operator notices no tenth.
DRAIN_LOOK_SECONDS = 0.1

# After the last byte of a transfer the server says on the control connection that it is complete; a
# client that does not hear it takes the transfer for broken.
DRAIN_LAST_WORDS_SECONDS = 1.0

# Killed flows leave conntrack after a second, and then their sums are known.
DRAIN_RESET_SECONDS = 2.0

# An orderly end takes a turn; shutting filters down may take them a moment.
WORKER_STOP_SECONDS = 5.0

# A new supervisor makes its workers in a second or two; its predecessor does not wait for ever.
TAKEOVER_SECONDS = 2 * WORKER_START_SECONDS

# A worker that works answers within a turn; who asks on the control socket is not kept waiting for
# one that hangs.
WORKER_ANSWER_SECONDS = 1.0

# Packets that the guard drops and copies to us, a second and reason. A record of one takes 20
# microseconds: even a flood costs us a thousandth of a processor, and a scan of 20 ports is whole.
DROP_SAMPLES = 20

# Sources that are told apart in a minute, and those of them that get a record of their own: what
# an operator reads. Sources can be forged: the log must not grow with them.
MAX_DROP_SOURCES = 256
MAX_DROP_RECORDS = 20
DROP_MINUTE_SECONDS = 60.0

# When the group of the packet log that samples come by is another program's, it is asked for again
# so often: a gateway that tried to take over and could not has ended by then.
DROP_RETRY_SECONDS = 5.0

# For how long it is remembered that a stranger came to a port, and for how many ports: longer than
# a peer is usually waited for, and as many as the range has by default. 2 MB when all are scanned.
KNOCKED_SECONDS = 300
MAX_KNOCKED_PORTS = 20_000

# Which part of its time a worker may read the kernel's whole table of connections, to see what
# became of peers that came and have no flow: one look takes 27 ms in a table of 75 000.
WHEREABOUTS_SHARE = 0.03

# Clients whose last unused binding `explain` remembers: as many as an office has.
MAX_UNUSED_REMEMBERED = 256

# Warnings of one event and reason about one client that are written in a minute; the rest is
# counted. Ten are enough to see what it does; a flood of refused requests wrote 3 MB a second.
REPEATED_RECORDS = 10

# As many of them are told apart, so the log grows by 2 600 lines a minute at most.
MAX_REPEATED = 256
LOG_MINUTE_SECONDS = 60.0
