# Shard servers: what auction.add_shard_server() looks at, what it leaves
# there, whom it refuses, and that it never waits for ever. "home" is a home,
# "one" and "two" are where shards may be.

use strict;
use warnings;

use AuctionTest;
use AuctionTest::Shards;
use IO::Socket::UNIX;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $home = new_node('home');
my $one = new_shard_node('one', streaming => 1);
my $two = new_shard_node('two');

sub sql { return $home->safe_psql('postgres', @_); }

# (SQLSTATE, output and messages) of adding a server; of another statement.
sub try
{
	my ($query, $db) = @_;
	my ($ret, $out, $err) =
	  ask($home, $db // 'postgres', "\\set VERBOSITY verbose\n$query");

	return ('', "$out$err") if $ret == 0;
	return ($err =~ /(?:ERROR|FATAL):\s+(\w{5})/ ? $1 : $err, $err);
}

sub add { return try("SELECT auction.add_shard_server('$_[0]')", $_[1]); }

# It is refused, and the row of shard_servers is as it was.
sub refused
{
	my ($server, $state, $message, $what, $db) = @_;
	my $rows = "SELECT s FROM auction.shard_servers s ORDER BY server";
	my $before = $home->safe_psql($db // 'postgres', $rows);
	my ($got, $err) = add($server, $db);

	is($got, $state, "$what: $state");
	like($err, $message, '... and says why');
	is($home->safe_psql($db // 'postgres', $rows), $before, '... nothing changed');
	return $err;
}

sub options_of
{
	return sql("SELECT coalesce((SELECT string_agg(o, ' ' ORDER BY o COLLATE \"C\")"
		  . " FROM unnest(srvoptions) o WHERE o !~ '^(host|port|dbname)='), '')"
		  . " FROM pg_foreign_server WHERE srvname = '$_[0]'");
}

# Until nobody of ours is connected.
sub wait_left
{
	my ($node) = @_;

	return poll_until($node, 'postgres', 'SELECT count(*) = 0'
		  . " FROM pg_stat_activity WHERE application_name = 'auction'");
}

my $uuid = sql('SELECT uuid FROM auction._history');
my $us = sql('SELECT system_identifier FROM pg_control_system()') . '/'
  . sql('SELECT oid FROM pg_database WHERE datname = current_database()');

# ---- a server is added ----

make_shard_server($home, $one, options => "fetch_size '77', keepalives_idle '5'");
my ($state, $told) = add('one');
is($state, '', 'a server is added') or diag $told;
is(identity($one), "$uuid|$us|one", '... and knows its history, home and name');
like($told, qr/NOTICE:.*options of server "one"/, '... told that it got options');
like($told, qr/batch_size '1000', async_capable 'true', connect_timeout '10'/,
	'... and which');
unlike($told, qr/fetch_size|keepalives_idle/, '... not those that it had');
is(options_of('one'),
	'async_capable=true batch_size=1000 connect_timeout=10 fetch_size=77'
	  . ' keepalives=1 keepalives_count=3 keepalives_idle=5'
	  . ' keepalives_interval=10 tcp_user_timeout=30000',
	'its options');
is(sql('SELECT server, error IS NULL FROM auction.shard_servers'),
	'one|t', 'its row');
is( $one->safe_psql('postgres', <<'SQL'), '0|0', 'it is open to nobody else there');
SELECT (SELECT count(*) FROM pg_namespace n, aclexplode(n.nspacl) a
	WHERE nspname = 'auction_shard' AND a.grantee = 0),
	(SELECT count(*) FROM pg_class c, aclexplode(c.relacl) a
	WHERE relname = 'identity' AND a.grantee = 0)
SQL
like(
	($one->psql('postgres', "INSERT INTO auction_shard.identity (history, home,"
		  . " server) SELECT history, home, server FROM auction_shard.identity"))[2],
	qr/identity_pkey/,
	'... and has one identity');
wait_left($one);

sql("UPDATE auction.shard_servers SET added_at = '2020-01-01', error = 'x',"
	  . ' error_since = now(), retry_at = now()');
($state, $told) = add('one');
is($state, '', 'it is added again') or diag $told;
unlike($told, qr/NOTICE/, '... without a word');
is(sql("SELECT error IS NULL AND error_since IS NULL AND retry_at IS NULL"
		  . " AND added_at > '2021-01-01' FROM auction.shard_servers"),
	't', '... which forgets its error');

make_shard_server($home, $two);
sql("BEGIN; SELECT auction.add_shard_server('two'); ROLLBACK");
is(sql('SELECT count(*) FROM auction.shard_servers'), '1', 'rolled back: no row');
is(options_of('two'), '', '... and no options');
is(identity($two), "$uuid|$us|two", '... what is there is ours');
is((add('two'))[0], '', '... and it can be added again');

# ---- who is refused, and why ----

$home->safe_psql('postgres', 'CREATE DATABASE other');
$home->safe_psql('other', 'CREATE EXTENSION auction');
make_shard_server($home, $one, db => 'other');
refused('one', '55000', qr/"one" belongs to another history.*\n.*history \Q$uuid\E/,
	'another home', 'other');
is(identity($one), "$uuid|$us|one", '... also there');

make_shard_server($home, $one, server => 'again');
refused('again', '42710', qr/"again" is shard server "one" already/,
	'one database twice');
make_shard_server($home, $home, server => 'self');
refused('self', '55000', qr/"self" is this very database/, 'this database');

# A server object for a new database of "one", which is made as "how" says.
sub database
{
	my ($server, $how, %opt) = @_;

	$one->safe_psql('postgres', "CREATE DATABASE $server " . ($how // ''));
	return make_shard_server(
		$home, $one,
		server => $server,
		dbname => $server,
		%opt);
}

database('latin', "TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'");
refused('latin', '22023', qr/"latin" has encoding "LATIN1", this one has "UTF8"/,
	'another encoding');
database('frozen');
$one->safe_psql('postgres',
	'ALTER DATABASE frozen SET default_transaction_read_only = on');
refused('frozen', '55000', qr/"frozen" is read-only/, 'read-only');
is(identity($one, 'frozen'), '', '... nothing is left there');

$one->backup('backup');
my $standby = AuctionTest::Node->new('standby');
$standby->init_from_backup($one, 'backup', has_streaming => 1);
$standby->start;
make_shard_server($home, $standby);
refused('standby', '55000', qr/"standby" is a standby/, 'a standby');
$standby->stop;
refused('standby', '08001', qr/could not connect to shard server "standby"/,
	'nobody there');

make_shard_server($home, $one, server => 'nobase', dbname => 'no_such_database');
refused('nobase', '08001', qr/"no_such_database" does not exist/, 'no database');

# ---- rights there ----

$one->safe_psql('postgres', 'CREATE ROLE plain LOGIN');
$one->safe_psql('postgres', 'CREATE ROLE squatter LOGIN');
database('rights', undef, user => "user 'plain'");
refused('rights', '42501', qr/"rights": CREATE on the database.*\n.*"plain"/,
	'no right to create a schema');
$one->safe_psql('rights', 'CREATE SCHEMA auction_shard AUTHORIZATION squatter');
refused('rights', '42501', qr/belongs to another role/, 'a schema of somebody');
$one->safe_psql('rights', 'ALTER SCHEMA auction_shard OWNER TO CURRENT_USER');
refused('rights', '42501', qr/CREATE on schema auction_shard/, 'a closed schema');
$one->safe_psql('rights', 'GRANT CREATE, USAGE ON SCHEMA auction_shard TO plain;'
	  . 'CREATE TABLE auction_shard.history_8_1 (x int)');
refused('rights', '55000', qr/not made by auction.add_shard_server/,
	'a schema with tables and no identity');
$one->safe_psql('rights', 'ALTER TABLE auction_shard.history_8_1 RENAME TO identity');
refused('rights', '42501', qr/auction_shard.identity there is not ours/,
	'an identity of somebody');
$one->safe_psql('rights', 'DROP TABLE auction_shard.identity');
is((add('rights'))[0], '', 'an empty schema, made by a DBA, is taken');
like(identity($one, 'rights'), qr/\|rights$/, '... and has the identity');
is( $one->safe_psql('rights',
		"SELECT tableowner FROM pg_tables WHERE tablename = 'identity'"),
	'plain', '... of the role in the user mapping');

database('granted', undef, user => "user 'plain'");
$one->safe_psql('postgres', 'GRANT CREATE ON DATABASE granted TO plain');
is((add('granted'))[0], '', 'CREATE on the database is enough');

# ---- rights here, passwords ----

sql(<<'SQL');
CREATE ROLE keeper;
GRANT USAGE ON FOREIGN DATA WRAPPER postgres_fdw TO keeper;
SQL
$one->safe_psql('postgres', "CREATE ROLE secret LOGIN PASSWORD 'swordfish0815'");
$one->safe_psql('postgres', 'GRANT plain TO secret');
database('kept', 'OWNER plain', user => "user 'plain'");

sub as_keeper
{
	return try("SET ROLE keeper; SELECT auction.add_shard_server('$_[0]')");
}

like((as_keeper('kept'))[1], qr/permission denied for function/, 'without EXECUTE');
sql('GRANT EXECUTE ON FUNCTION auction.add_shard_server TO keeper');
like((as_keeper('kept'))[1], qr/must be owner of foreign server kept/, 'not the owner');
sql('ALTER SERVER kept OWNER TO keeper');
($state, $told) = as_keeper('kept');
is($state, '2F003', 'the owner is no superuser: a password is required');
like($told, qr/must have a password/, '... in the mapping');
sql("ALTER USER MAPPING FOR CURRENT_USER SERVER kept"
	  . " OPTIONS (SET user 'secret', ADD password 'swordfish0815')");
($state, $told) = as_keeper('kept');
is($state, '2F003', 'a password that is not asked for is none');
like($told, qr/did not ask for the password/, '... and it says so');

my $hba = slurp_file($one->data_dir . '/pg_hba.conf');
append_to_file($one->data_dir . '/pg_hba.new',
	"local all secret scram-sha-256\n$hba");
rename $one->data_dir . '/pg_hba.new', $one->data_dir . '/pg_hba.conf';
$one->reload;
poll_until($one, 'postgres', "SELECT pg_conf_load_time() > backend_start"
	  . " OR EXISTS (SELECT FROM pg_hba_file_rules WHERE line_number = 1"
	  . " AND auth_method = 'scram-sha-256') FROM pg_stat_activity"
	  . " WHERE backend_type = 'checkpointer'");
poll('the password is asked for', sub { (as_keeper('kept'))[0] ne '2F003' });
is((as_keeper('kept'))[0], '', 'with a password that was used');
sql("ALTER USER MAPPING FOR CURRENT_USER SERVER kept"
	  . " OPTIONS (SET password 'wrong0815')");
($state, $told) = as_keeper('kept');
is($state, '08001', 'a wrong password');
like($told, qr/password authentication failed for user "secret"/, '... told');
unlike($told, qr/0815/, '... and not quoted');
$one->safe_psql('kept', 'DROP SCHEMA auction_shard CASCADE');
sql("ALTER USER MAPPING FOR CURRENT_USER SERVER kept"
	  . " OPTIONS (SET user 'plain', DROP password, ADD password_required 'false')");
is((as_keeper('kept'))[0], '', 'a superuser can do without');
sql('DROP USER MAPPING FOR CURRENT_USER SERVER kept');
refused('kept', '42704',
	qr/user mapping not found for ".*" on server "kept".*\n.*\n.*CREATE USER MAPPING FOR/,
	'no user mapping');
sql("CREATE USER MAPPING FOR PUBLIC SERVER kept"
	  . " OPTIONS (user 'plain', password_required 'false')");
is((add('kept'))[0], '', 'that of PUBLIC will do');

# The extension's owner counts, not who calls.
sql('CREATE ROLE nobody_special SUPERUSER LOGIN');
is( (try("SET ROLE nobody_special; SELECT auction.add_shard_server('one')"))[0],
	'', 'another superuser calls: the mapping is still that of the owner');

# An owner of the extension that is no superuser any more.
$home->safe_psql('postgres', 'CREATE DATABASE lesser');
$home->safe_psql('postgres', 'CREATE ROLE lesser SUPERUSER LOGIN');
$home->safe_psql('lesser', 'CREATE EXTENSION postgres_fdw; SET ROLE lesser;'
	  . ' CREATE EXTENSION auction');
database('less', 'OWNER plain', db => 'lesser', for => 'lesser', user => "user 'plain'");
$home->safe_psql('postgres', 'ALTER ROLE lesser NOSUPERUSER');
refused('less', '2F003', qr/must have a password/, 'an owner without rights', 'lesser');

# ---- restored ----

my $other = $us =~ s{/.*}{}r . '/'
  . sql("SELECT oid FROM pg_database WHERE datname = 'other'");
$home->safe_psql('other', "INSERT INTO auction._history VALUES ('$uuid', '2020-01-01')");
($state, $told) = add('one', 'other');
is($state, '', 'a copy of the home takes the server over') or diag $told;
like($told, qr/NOTICE:.*"one" had another home\n.*It was \Q$us\E, .* now it is \Q$other\E/,
	'... and says whose it was');
is(identity($one), "$uuid|$other|one", '... which is noted there');
like((add('one'))[1], qr/had another home/, 'the first home takes it back');
is(identity($one), "$uuid|$us|one", '... which is noted, too');

# ---- a home without the library ----

$two->safe_psql('postgres', 'CREATE DATABASE plain_home');
$two->safe_psql('plain_home', 'SET client_min_messages = error; CREATE EXTENSION auction');
$one->safe_psql('postgres', 'CREATE DATABASE unloaded');
shard_server($two, $one, db => 'plain_home', dbname => 'unloaded');
like(identity($one, 'unloaded'), qr/\|one$/, 'the library need not be preloaded');

# ---- servers that are dropped and renamed ----

my $servers = 'SELECT string_agg(server, \' \' ORDER BY server) FROM auction.shard_servers';
is(sql($servers), 'granted kept one rights two', 'shard servers');
is(sql_error($home, 'postgres', 'ALTER SERVER two RENAME TO three'),
	'55006', 'a shard server is not renamed');
sql('BEGIN; DROP SERVER two CASCADE; ROLLBACK');
is(sql("BEGIN; SAVEPOINT a; DROP SERVER two CASCADE; ROLLBACK TO a; $servers; COMMIT"),
	'granted kept one rights two', 'rolled back: its row stays');
is(sql('BEGIN; SET client_min_messages = error; DROP EXTENSION postgres_fdw CASCADE;'
		  . ' SELECT count(*) FROM auction.shard_servers; ROLLBACK'),
	'0', 'however they are dropped, their rows go');
sql('DROP SERVER rights CASCADE');
is(sql($servers), 'granted kept one two', 'dropped: its row is gone');
is(sql_error($home, 'postgres', 'ALTER SERVER again RENAME TO afresh'),
	'', 'a server that was not added is');
sql('DROP SERVER one CASCADE');
is((add('afresh'))[0], '', 'the name is free again');
is(identity($one), "$uuid|$us|afresh", '... and noted there');

sql(<<'SQL');
CREATE FOREIGN TABLE auction.shard_here PARTITION OF auction.history
	FOR VALUES WITH (MODULUS 1024, REMAINDER 1023) SERVER two;
SQL
is(sql_error($home, 'postgres', "DROP SERVER $_"), '55006', "$_: it has a shard")
  foreach 'two', 'two CASCADE', 'IF EXISTS nobase, two CASCADE';
sql('DROP FOREIGN TABLE auction.shard_here');

# ---- what stands still ----

# Somebody has the identity locked, so that a session of ours has to wait.
sub hold_identity
{
	return open_session($two, 'postgres',
		'BEGIN; SELECT 1 FROM auction_shard.identity FOR UPDATE;');
}

sub waiting_there
{
	return poll('it waits there', sub {
		$two->safe_psql('postgres', 'SELECT pid FROM pg_stat_activity'
			  . " WHERE application_name = 'auction' AND wait_event_type = 'Lock'");
	});
}

sub start_add
{
	return start_psql($home, 'postgres', @_, "SELECT auction.add_shard_server('two')");
}

my $holder = hold_identity();
my $psql = start_add();
my $pid = waiting_there();
$two->safe_psql('postgres', "SELECT pg_cancel_backend($pid)");
(undef, $told) = finish_psql($psql);
like($told, qr/ERROR:  57014: canceling statement due to user request/,
	'cancelled there: told with its SQLSTATE');
like($told, qr/CONTEXT:.*statement on shard server "two": SELECT history/s,
	'... server and statement');
wait_left($two);

$psql = start_add();
$pid = waiting_there();
$two->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
(undef, $told) = finish_psql($psql);
like($told, qr/ERROR:  08006: connection to shard server "two" was lost/,
	'terminated there: the connection is lost');

my $log = -s $two->logfile;
$psql = start_add();
waiting_there();
sql("SELECT pg_cancel_backend(pid) FROM pg_stat_activity"
	  . " WHERE query LIKE '%add_shard_server(''two'')' AND pid <> pg_backend_pid()");
(undef, $told) = finish_psql($psql);
like($told, qr/ERROR:  57014/, 'cancelled here');
wait_left($two);
$log = slurp_file($two->logfile, $log);
like($log, qr/connection to client lost/, '... which is noticed there');
unlike($log, qr/lock timeout/, '... before the lock has been waited for too long');
(undef, $told) = finish_psql(start_add());
like($told, qr/ERROR:  55P03: canceling statement due to lock timeout/,
	'a lock there is waited for a while only');

# Whoever catches the error keeps no connection.
my $session = open_session($home, 'postgres', <<'SQL');
BEGIN;
DO $$ BEGIN
	FOR i IN 1..5 LOOP
		BEGIN
			PERFORM auction.add_shard_server('frozen');
		EXCEPTION WHEN object_not_in_prerequisite_state THEN NULL;
		END;
	END LOOP;
END $$;
SQL
wait_left($one);
pass('an error that is caught leaves no connection');
end_session($session, 'ROLLBACK');

sql("ALTER SYSTEM SET auction.shard_timeout = '1s'");
$home->reload;
poll_until($home, 'postgres', 'SHOW auction.shard_timeout', '1s');
(undef, $told) = finish_psql(start_add());
like($told, qr/ERROR:  08006: shard server "two" did not answer within 1000 ms/,
	'a statement without an answer');
like($told, qr/HINT:.*auction.shard_timeout/, '... says which setting');
end_session($holder, 'ROLLBACK');
wait_left($two);

hold_still($two);
(undef, $told) = finish_psql(start_add());
like($told, qr/ERROR:  08001: could not connect to shard server "two"\n.*within 1000 ms/,
	'a server that stands still');
sql("ALTER SYSTEM SET auction.shard_timeout = '1h'");
$home->reload;
poll_until($home, 'postgres', 'SHOW auction.shard_timeout', '1h');
(undef, $told) = finish_psql(start_add("SET statement_timeout = '500ms'"));
like($told, qr/ERROR:  57014: canceling statement due to statement timeout/,
	'... and a statement_timeout meanwhile');
go_on_all($two);
is((add('two'))[0], '', 'it goes on');
sql('ALTER SYSTEM RESET auction.shard_timeout');
$home->reload;

# ---- several hosts ----

# Whoever connects to it hears nothing.
my $silent_dir = PostgreSQL::Test::Utils::tempdir_short();
my $dir_of_nobody = PostgreSQL::Test::Utils::tempdir_short();
my $silent = IO::Socket::UNIX->new(
	Local => "$silent_dir/.s.PGSQL.5432",
	Listen => 10) or die "socket: $!";

sub set_hosts
{
	my ($hosts, $ports) = @_;

	sql("ALTER SERVER two OPTIONS (SET host '$hosts', SET port '$ports')");
	return;
}

sql("ALTER SERVER two OPTIONS (SET connect_timeout '1')");
set_hosts("$silent_dir," . $two->host, '5432,' . $two->port);
is((add('two'))[0], '', 'the first of two hosts is silent: the second is asked');
set_hosts("$dir_of_nobody," . $two->host, '5432,' . $two->port);
is((add('two'))[0], '', '... or nobody is there');
set_hosts($two->host . ",$silent_dir", $two->port . ',5432');
is((add('two'))[0], '', 'the second is not needed');
set_hosts("$silent_dir,$dir_of_nobody,$silent_dir", '5432');
($state, $told) = add('two');
is($state, '08001', 'none of three hosts will do');
like($told, qr/no answer from "$silent_dir" within 1000 ms\.
.*"$dir_of_nobody.*
.*
There was no answer from "$silent_dir" within/, '... it is told of each');
set_hosts("$silent_dir,$silent_dir", '1,2,3');
refused('two', '08001', qr/could not match 3 port numbers to 2 hosts/,
	'lists that do not go together');
set_hosts($two->host, $two->port);

# ---- something old ----

my $dir = PostgreSQL::Test::Utils::tempdir_short();
my $listener = IO::Socket::UNIX->new(Local => "$dir/.s.PGSQL.5432", Listen => 1)
  or die "socket: $!";
sql("CREATE SERVER old FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '$dir', port '5432');"
	  . ' CREATE USER MAPPING FOR CURRENT_USER SERVER old');
$psql = start_psql($home, 'postgres', "SELECT auction.add_shard_server('old')");
my $client = $listener->accept;
$client->sysread(my $startup, 8192);
$client->syswrite(pack('A1 N N', 'R', 8, 0)
	  . pack('A1 N Z* Z*', 'S', 24, 'server_version', '14.9')
	  . pack('A1 N A1', 'Z', 5, 'I'));
(undef, $told) = finish_psql($psql);
like($told, qr/ERROR:  0A000: shard server "old" runs PostgreSQL 14, which is too old/,
	'an older PostgreSQL');

wait_left($_) foreach $one, $two;
$_->stop foreach $home, $one, $two;
done_testing();
