/** Words that targeting may use; a misspelt one would silently match nobody. */
export const deviceWords: ReadonlySet<string> = new Set(['phone', 'tablet', 'desktop', 'tv', 'other']);
export const osWords: ReadonlySet<string> = new Set(['ios', 'android', 'windows', 'macos', 'linux', 'other']);

/** ISO 3166-1 alpha-3, all 249. */
const countries =
  'ABWAFGAGOAIAALAALBANDAREARGARMASMATAATFATGAUSAUTAZEBDIBELBENBESBFABGDBGRBHRBHSBIHBLMBLRBLZBMUBOLBRABRBBRNBTNBVT' +
  'BWACAFCANCCKCHECHLCHNCIVCMRCODCOGCOKCOLCOMCPVCRICUBCUWCXRCYMCYPCZEDEUDJIDMADNKDOMDZAECUEGYERIESHESPESTETHFINFJI' +
  'FLKFRAFROFSMGABGBRGEOGGYGHAGIBGINGLPGMBGNBGNQGRCGRDGRLGTMGUFGUMGUYHKGHMDHNDHRVHTIHUNIDNIMNINDIOTIRLIRNIRQISLISR' +
  'ITAJAMJEYJORJPNKAZKENKGZKHMKIRKNAKORKWTLAOLBNLBRLBYLCALIELKALSOLTULUXLVAMACMAFMARMCOMDAMDGMDVMEXMHLMKDMLIMLTMMR' +
  'MNEMNGMNPMOZMRTMSRMTQMUSMWIMYSMYTNAMNCLNERNFKNGANICNIUNLDNORNPLNRUNZLOMNPAKPANPCNPERPHLPLWPNGPOLPRIPRKPRTPRYPSE' +
  'PYFQATREUROURUSRWASAUSDNSENSGPSGSSHNSJMSLBSLESLVSMRSOMSPMSRBSSDSTPSURSVKSVNSWESWZSXMSYCSYRTCATCDTGOTHATJKTKLTKM' +
  'TLSTONTTOTUNTURTUVTWNTZAUGAUKRUMIURYUSAUZBVATVCTVENVGBVIRVNMVUTWLFWSMYEMZAFZMBZWE';
/** ISO 639-1. */
const languages =
  'aaabaeafakamanarasavayazbabebgbibmbnbobrbscacechcocrcscucvcydadedvdzeeeleneoeseteufafffifjfofrfygaglgdgngugvhahe' +
  'hihohrhthuhyhziaidieigiiikioisitiujajvkakgkikjkkklkmknkokrkskukvkwkylalblglilnloltlulvmgmhmimkmlmnmrmsmtmynanbnd' +
  'nengnlnnnonrnvnyocojomorospapiplpsptqurmrnrorurwsascsdsesgsiskslsmsnsosqsrssstsusvswtatetgthtitktltntotrtstwtyug' +
  'ukuruzvevivowawoxhyiyozazhzu';

function split(text: string, length: number): ReadonlySet<string> {
  const words = new Set<string>();
  for (let at = 0; at < text.length; at += length) words.add(text.slice(at, at + length));
  return words;
}

export const countryWords = split(countries, 3);
export const languageWords = split(languages, 2);
