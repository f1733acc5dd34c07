
// Called by js_set. Returns "<formats> <URI>", or nothing if the request must be forwarded unchanged.
function edge(r) {
    const uri = r.variables.request_uri;
    const end = uri.indexOf('?');
    const headers = r.headersIn;
    const routed = route({
        host: headers['Host'] || '',
        path: end < 0 ? uri : uri.slice(0, end),
        query: end < 0 ? '' : uri.slice(end + 1),
        accept: headers['Accept'] || '',
        keyed: Boolean(headers['X-Packshot-Access-Key'] || headers['X-Vimond-Access-Key'])
    }, SETTINGS);
    if (!routed.cache) {
        return '';
    }
    return `${routed.accept} ${routed.path}${routed.query && '?'}${routed.query}`;
}

export default {edge};
