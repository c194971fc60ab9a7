# A telephone by the stack of Net::SIP, told what to do at a socket; a program of its own.
#
#     perl net_sip.pl SOCKET TRANSPORT OWN_PLACE PROVIDER USER PASSWORD FIRST_PORT LAST_PORT
#
# It registers, takes every call that comes in, and sends the silence of PCMU in each. Places are an
# address and a port, as SIP has them. At the socket it reads `dial URI` and `hangup`, a line each,
# and writes `registered`, `ringing`, `established`, `closed` or `failed CODE`.
use strict;
use warnings;
use IO::Socket::UNIX;
use Net::SIP;
use Net::SIP::Dispatcher::Eventloop;

my ( $path, $transport, $own, $provider, $user, $password, $first, $last ) = @ARGV;
( $Net::SIP::Util::RTP_MIN_PORT, $Net::SIP::Util::RTP_MAX_PORT ) = ( $first, $last );

my $control = IO::Socket::UNIX->new( Local => $path, Listen => 1 ) or die "$path: $!";
my $who = $control->accept or die "$path: $!";
sub tell_them { $who->syswrite("@_\n") }

# Its own choices name no transport, and one has no brackets around an IPv6 address.
my $contact = "<sip:$user\@$own;transport=$transport>";
my $ua = Net::SIP::Simple->new(
    from           => "sip:$user\@$provider",
    contact        => $contact,
    auth           => [ $user, $password ],
    leg            => "sip:$own;transport=$transport",
    outgoing_proxy => "sip:$provider;transport=$transport",
    registrar      => "sip:$provider;transport=$transport",
);
my $call;
my %always = (
    init_media => $ua->rtp( 'send_recv', sub { "\xff" x 160 }, -1 ),
    recv_bye   => sub { tell_them('closed') },
    cb_invite  => sub {
        my ( $taken, $invite ) = @_;
        $invite->create_response( 200, 'OK', { contact => $contact }, $taken->get_param('sdp') );
    },
);
my %verbs = (
    dial => sub {
        $call = $ua->invite(
            shift, %always,
            cb_preliminary => sub { tell_them('ringing') if $_[1] == 180 },
            cb_final       => sub {
                my ( $status, undef, %more ) = @_;
                tell_them( $status eq 'OK' ? 'established' : 'failed ' . ( $more{code} || 0 ) );
            },
        );
    },
    hangup => sub { $call->bye( cb_final => sub { tell_them('closed') } ) },
);

$ua->register or die 'not registered: ' . $ua->error;
$ua->listen( %always, cb_established => sub { $call = $_[1]; tell_them('established') } );
tell_them('registered');
my $read = sub {
    my ( $verb, @more ) = split ' ', $who->getline || exit;
    $verbs{$verb}->(@more);
};
$ua->{loop}->addFD( $who, EV_READ, $read, 'control' );
$ua->loop;
