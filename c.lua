return { services = { { plugin='echo', name='e', listen='tls://127.0.0.1:0', mode='lines', tls={self_signed=true} } } }
