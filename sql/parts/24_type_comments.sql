--
-- What the parts of the types are for
--

COMMENT ON FUNCTION apikey.scopes_in(cstring) IS 'Reads a list, a JSON array or object, or an array literal';
COMMENT ON FUNCTION apikey.scopes_out(apikey.scopes) IS 'Writes the grants sorted, separated by blanks';
COMMENT ON FUNCTION apikey.scopes_recv(internal) IS 'Reads the binary form: a version byte and the text form';
COMMENT ON FUNCTION apikey.scopes_send(apikey.scopes) IS 'Writes the binary form';
COMMENT ON FUNCTION apikey.scopes_from_array(text[]) IS 'Cast from text[]';
COMMENT ON FUNCTION apikey.scopes_to_array(apikey.scopes) IS 'Cast to text[]';
COMMENT ON FUNCTION apikey.scopes_from_jsonb(jsonb) IS 'Cast from a JSON array or object';
COMMENT ON FUNCTION apikey.scopes_to_jsonb(apikey.scopes) IS 'Cast to a JSON array';
COMMENT ON FUNCTION apikey.scopes_eq(apikey.scopes, apikey.scopes) IS 'Implements operator =';
COMMENT ON FUNCTION apikey.scopes_ne(apikey.scopes, apikey.scopes) IS 'Implements operator <>';
COMMENT ON FUNCTION apikey.scopes_lt(apikey.scopes, apikey.scopes) IS 'Implements operator <';
COMMENT ON FUNCTION apikey.scopes_le(apikey.scopes, apikey.scopes) IS 'Implements operator <=';
COMMENT ON FUNCTION apikey.scopes_gt(apikey.scopes, apikey.scopes) IS 'Implements operator >';
COMMENT ON FUNCTION apikey.scopes_ge(apikey.scopes, apikey.scopes) IS 'Implements operator >=';
COMMENT ON FUNCTION apikey.scopes_cmp(apikey.scopes, apikey.scopes) IS 'Order for btree indexes';
COMMENT ON FUNCTION apikey.scopes_hash(apikey.scopes) IS 'Hash for hash indexes, joins and groups';
COMMENT ON FUNCTION apikey.scopes_hash_extended(apikey.scopes, bigint) IS 'Hash with a seed';
COMMENT ON FUNCTION apikey.scope_query_in(cstring) IS 'Reads scopes combined by & and |';
COMMENT ON FUNCTION apikey.scope_query_out(apikey.scope_query) IS 'Writes the canonical form';
COMMENT ON FUNCTION apikey.scope_query_recv(internal) IS 'Reads the binary form: a version byte and the text form';
COMMENT ON FUNCTION apikey.scope_query_send(apikey.scope_query) IS 'Writes the binary form';

COMMENT ON OPERATOR apikey.= (apikey.scopes, apikey.scopes) IS 'Same set?';
COMMENT ON OPERATOR apikey.<> (apikey.scopes, apikey.scopes) IS 'Different sets?';
COMMENT ON OPERATOR apikey.< (apikey.scopes, apikey.scopes) IS 'Earlier in an arbitrary, fixed order?';
COMMENT ON OPERATOR apikey.<= (apikey.scopes, apikey.scopes) IS 'Same or earlier?';
COMMENT ON OPERATOR apikey.> (apikey.scopes, apikey.scopes) IS 'Later?';
COMMENT ON OPERATOR apikey.>= (apikey.scopes, apikey.scopes) IS 'Same or later?';
COMMENT ON OPERATOR apikey.@> (apikey.scopes, text) IS 'Does the set cover the scope or grant?';
COMMENT ON OPERATOR apikey.@> (apikey.scopes, apikey.scopes) IS 'Does the set cover every grant of the other?';
COMMENT ON OPERATOR apikey.<@ (text, apikey.scopes) IS 'Is the scope or grant covered by the set?';
COMMENT ON OPERATOR apikey.<@ (apikey.scopes, apikey.scopes) IS 'Is every grant covered by the other set?';
COMMENT ON OPERATOR apikey.+ (apikey.scopes, apikey.scopes) IS 'Union';
COMMENT ON OPERATOR apikey.- (apikey.scopes, apikey.scopes) IS 'Difference';
COMMENT ON OPERATOR apikey.@@ (apikey.scopes, apikey.scope_query) IS 'Does the set hold what the query needs?';
COMMENT ON OPERATOR apikey.@@ (apikey.scope_query, apikey.scopes) IS 'Is what the query needs held by the set?';

COMMENT ON OPERATOR CLASS apikey.scopes_ops USING btree IS 'Equality of sets and an arbitrary order';
COMMENT ON OPERATOR FAMILY apikey.scopes_ops USING btree IS 'Of operator class scopes_ops';
COMMENT ON OPERATOR CLASS apikey.scopes_hash_ops USING hash IS 'Equality of sets';
COMMENT ON OPERATOR FAMILY apikey.scopes_hash_ops USING hash IS 'Of operator class scopes_hash_ops';

COMMENT ON CAST (text AS apikey.scopes) IS 'On assignment';
COMMENT ON CAST (varchar AS apikey.scopes) IS 'On assignment';
COMMENT ON CAST (apikey.scopes AS text) IS 'On assignment';
COMMENT ON CAST (apikey.scopes AS varchar) IS 'On assignment';
COMMENT ON CAST (text[] AS apikey.scopes) IS 'On assignment';
COMMENT ON CAST (apikey.scopes AS text[]) IS 'On assignment';
COMMENT ON CAST (jsonb AS apikey.scopes) IS 'On assignment';
COMMENT ON CAST (apikey.scopes AS jsonb) IS 'On assignment';
COMMENT ON CAST (text AS apikey.scope_query) IS 'On assignment';
COMMENT ON CAST (varchar AS apikey.scope_query) IS 'On assignment';
COMMENT ON CAST (apikey.scope_query AS text) IS 'On assignment';
COMMENT ON CAST (apikey.scope_query AS varchar) IS 'On assignment';

