# Node.pm: a PostgreSQL::Test::Cluster whose statements on database "postgres"
# share a session (Asker.pm), where nothing tells that they want one of their
# own. What they may not share: settings, an open transaction, a lock, anything
# temporary; what a session learns only when it begins; what is for psql.
package AuctionTest::Node;

use strict;
use warnings;

use parent -norequire, 'PostgreSQL::Test::Cluster';

use AuctionTest::Asker;
use Carp;
use PostgreSQL::Test::Cluster;

my $alone = qr/
	(?:^|;)\s*(?:SET|RESET|BEGIN|START|COMMIT|END|ROLLBACK|SAVEPOINT|PREPARE|
		DEALLOCATE|DISCARD|LISTEN|UNLISTEN|LOCK|LOAD|DECLARE|COPY)\b
	| \bALTER\s+(?:SYSTEM|DATABASE|ROLE|USER)\b | \bpg_reload_conf\b
	| \bTEMP(?:ORARY)?\b | \bpg_temp\b | advisory | \bset_config\b
	| \bDATABASE\b | \\
	/xi;

sub _may_share
{
	my ($db, $sql) = @_;
	return $db eq 'postgres'
	  && !exists $ENV{PGUSER}
	  && !exists $ENV{PGOPTIONS}
	  && $sql !~ $alone;
}

sub _asker
{
	my ($self) = @_;

	return $self->{asker} //=
	  AuctionTest::Asker->new($self->connstr('postgres'));
}

# Others are asked in a session that ends with it.
sub asks
{
	my ($self, $db, $sql, $function) = @_;

	return $function->($self->_asker) if _may_share($db, $sql);
	my $asker = AuctionTest::Asker->new($self->connstr($db));
	my $result = $function->($asker);
	$asker->quit;
	return $result;
}

sub safe_psql
{
	my ($self, $db, $sql, %options) = @_;

	return $self->SUPER::safe_psql($db, $sql, %options)
	  if %options || !_may_share($db, $sql);
	local %ENV = $self->_get_env();
	my ($out, $err) = $self->_asker->ask($sql);
	croak "error: $err\nwhile running: $sql" if !defined $out;
	print "$err\n" if $err ne '';
	return $out;
}

# With the settings of before, and of a server that is gone.
sub _forget_asker
{
	my ($self) = @_;
	my $asker = delete $self->{asker};

	$asker->quit if defined $asker;
	return;
}

sub stop { my $self = shift; $self->_forget_asker; return $self->SUPER::stop(@_); }
sub reload { my $self = shift; $self->_forget_asker; return $self->SUPER::reload(@_); }

1;
