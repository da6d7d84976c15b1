# The README names everything that the extension offers, and nothing else.

use strict;
use warnings;

use AuctionTest;
use Cwd qw(abs_path);
use File::Basename qw(dirname);
use PostgreSQL::Test::Utils;
use Test::More;

my $top = dirname(dirname(dirname(abs_path(__FILE__))));
my $readme = slurp_file("$top/README.md");
my $node = new_node('docs');

sub sql { return $node->safe_psql('postgres', @_); }

# A table's rows: those lines of the README that begin with "| `NAME".
sub row_of
{
	my ($name) = @_;
	return $readme =~ /^\| `\Q$name\E(?![\w.])[^|]*\|.*$/m ? $& : undef;
}

# --- Functions, procedures, tables, views, types -----------------------

foreach my $function (
	split /\n/, sql(<<'SQL'))
SELECT DISTINCT proname FROM pg_proc
WHERE pronamespace = 'auction'::regnamespace AND proname NOT LIKE '\_%'
ORDER BY 1
SQL
{
	ok(defined row_of($function) || $readme =~ /^\| `$function\(/m,
		"function $function has a row");
}
foreach my $relation (
	split /\n/, sql(<<'SQL'))
SELECT relname FROM pg_class
WHERE relnamespace = 'auction'::regnamespace AND relname NOT LIKE '\_%'
AND relkind IN ('r', 'p', 'v', 'c') AND NOT relispartition
ORDER BY 1
SQL
{
	ok(defined row_of($relation), "$relation has a row");
}

# What the README calls a function of the schema exists.
my %known = map { $_ => 1 } split /\n/, sql(<<'SQL');
SELECT proname FROM pg_proc WHERE pronamespace = 'auction'::regnamespace
UNION SELECT relname FROM pg_class
WHERE relnamespace = 'auction'::regnamespace
UNION SELECT substr(name, 9) FROM pg_settings WHERE name LIKE 'auction.%'
UNION SELECT typname FROM pg_type
WHERE typnamespace = 'auction'::regnamespace
SQL
my %named = map { $_ => 1 } $readme =~ /\bauction\.([a-z_0-9]+)\b/g;
delete @named{qw(control so conf)};
is(join(' ', grep { !$known{$_} } sort keys %named),
	'', 'every auction.NAME in the README exists');

# --- Settings ----------------------------------------------------------

# "32MB" and "32768 kB" are the same.
sub base_value
{
	my ($value) = @_;
	my %factor = (
		B => 1, kB => 1024, MB => 1024**2, GB => 1024**3,
		ms => 1, s => 1000, min => 60_000, h => 3_600_000);

	return $value =~ /^(\d+) ?(\w+)$/ ? $1 * $factor{$2} : $value;
}

foreach my $line (
	split /\n/, sql(<<'SQL'))
SELECT name, context, boot_val || coalesce(' ' || unit, '') FROM pg_settings
WHERE name LIKE 'auction.%' ORDER BY 1
SQL
{
	my ($name, $context, $default) = split /\|/, $line;
	my $row = row_of($name);

	ok(defined $row, "setting $name has a row");
	my ($told, $where) =
	  ($row // '') =~ /^\| `[^`]*` \| `([^`]*)` \| (\w+) \|/;
	is(base_value($told // ''), base_value($default), '... with its default');
	is($where, $context, '... and its context');
}

# --- SQLSTATEs ---------------------------------------------------------

my $errors = slurp_file("$top/src/errors.h");
my @states = map { join '', /'(\w)'/g }
  $errors =~ /MAKE_SQLSTATE\(([^)]*)\)/g;
cmp_ok(scalar @states, '>', 5, 'SQLSTATEs in errors.h');
foreach my $state (@states)
{
	ok(defined row_of($state), "SQLSTATE $state has a row");
}
my %states = map { $_ => 1 } @states;
is(join(' ', grep { !$states{$_} } sort $readme =~ /\b(RB\d\d\d)\b/g),
	'', 'every SQLSTATE in the README exists');

# --- Options of servers and user mappings ------------------------------

my $err = '';
foreach my $object (
	[ 'CREATE SERVER x FOREIGN DATA WRAPPER auction_redis', 'server' ],
	[ 'CREATE SERVER y FOREIGN DATA WRAPPER auction_redis;'
		  . ' CREATE USER MAPPING FOR PUBLIC SERVER y', 'user mapping' ])
{
	$node->psql(
		'postgres', "$object->[0] OPTIONS (no_such_option_at_all '1')",
		stderr => \$err);
	my @options =
	  $err =~ /Options here are: (.*)\.$/m ? $1 =~ /(\w+)/g : ();
	cmp_ok(scalar @options, '>', 0, "options of a $object->[1]: @options")
	  or diag $err;
	ok(defined row_of($_), "option $_ has a row") foreach @options;
}

$node->stop;
done_testing();
