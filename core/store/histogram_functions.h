// Histograms inside SQL statements, for the connections of the daemon and of `portolan stats`: rows are merged where
// they lie. Views use none of these, so that any sqlite3 can read the file.
//
//   histogram_merge(a, b)           the sum of two; NULL is an empty one
//   histogram_sum(x)                the sum over rows; NULL when there is nothing in it
//   histogram_quantile(x, share)    as HistogramSnapshot::quantile; NULL when it is empty
#pragma once

#include "sqlite.h"

namespace portolan {

SqlResult add_histogram_functions(Connection& connection);

}  // namespace portolan
