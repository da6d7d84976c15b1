-- An error of consolidate() that its caller catches leaves nothing behind: not
-- the owner's rights, nor its search_path, nor an open subtransaction.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS auction;
CREATE ROLE regress_auction_closer;
GRANT EXECUTE ON FUNCTION auction.close_auction, auction.consolidate
TO regress_auction_closer;
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
'BEGIN RAISE EXCEPTION ''no history today''; END';
CREATE TRIGGER fail BEFORE INSERT ON auction.history
	FOR EACH ROW EXECUTE FUNCTION fail();
INSERT INTO auction.auctions (id, seller_id, starts_at, ends_at, route)
VALUES (8601, 1, '2020-01-01', '2099-01-01', 'table');
SELECT accepted FROM auction.place_bid(8601, 7, 5);
SET ROLE regress_auction_closer;
CREATE TEMP TABLE caught (role name, path text, message text);
DO $$ BEGIN
	BEGIN
		PERFORM auction.close_auction(8601), auction.consolidate(8601);
	EXCEPTION WHEN OTHERS THEN
		INSERT INTO caught
		VALUES (current_user, current_setting('search_path'), SQLERRM);
	END;
END $$;
SELECT * FROM caught;
SELECT current_user, current_setting('search_path');
RESET ROLE;
ROLLBACK;	-- no transaction is in progress
DROP TRIGGER fail ON auction.history;
DROP FUNCTION fail;
SELECT status FROM auction.standings WHERE id = 8601;
DROP TABLE caught;
DROP OWNED BY regress_auction_closer;
DROP ROLE regress_auction_closer;
