-- What the clock says of the server that has the key, in microseconds.
return { digits(clock()) }
