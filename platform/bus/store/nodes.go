package store

// Living is the condition, in SQL, on a row of bus.nodes under which its
// process counts as alive. Each module's role may write there: a lease that ends
// later than twice the longest that there is counts as none, so that nobody keeps
// a process alive that does not renew.
const Living = `(expires_at > clock_timestamp() AND expires_at < clock_timestamp() + interval '2 minutes')`
