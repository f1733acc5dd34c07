
// What nginx asks by js_set: "<formats> <URI>", or nothing where the request is to be handed on as it came.
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
